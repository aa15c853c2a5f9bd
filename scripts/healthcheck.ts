import { loadConfig } from '../src/config.ts'

/**
 * Whether the broker that this configuration starts is up, for a container's health check: exit code 0 for yes, 1 for no. Asks
 * for liveness, not readiness: to start the broker again does not bring back a database that is away.
 */
const everywhere: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

try {
  const { host, port } = loadConfig({ env: process.env, cwd: process.cwd() }).listen
  const address = everywhere[host] ?? host
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}/healthz`
  const { ok } = await fetch(url, { signal: AbortSignal.timeout(3_000), redirect: 'error' })
  process.exitCode = ok ? 0 : 1
} catch (error) {
  process.stderr.write(`not healthy: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}
