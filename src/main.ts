import pino from 'pino'
import { startBroker } from './app.ts'
import { ConfigError, loadConfig } from './config.ts'

const log = pino()

// From the first moment: a signal that comes during the start ends the broker in order, and with it its PostgreSQL. Those that
// come after it change nothing: npm hands a terminal's Ctrl-C on to us, who have had it already.
const asked = new Promise<NodeJS.Signals>(resolve => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, resolve)
})

try {
  const config = loadConfig({ env: process.env, cwd: process.cwd() })
  for (const warning of config.warnings) log.warn(warning)
  const broker = await startBroker(config, { log })
  const { url, mtlsUrl: mtls, metricsUrl: metrics } = broker
  log.info({ url, issuer: broker.config.issuer, mtls, metrics }, 'hallpass is open')

  log.info({ signal: await asked }, 'draining')
  await broker.close()
  log.info('hallpass is closed')
} catch (error) {
  if (error instanceof ConfigError)
    for (const { path, message } of error.faults) process.stderr.write(`hallpass.yaml: ${path}: ${message}\n`)
  else log.fatal({ err: error }, 'hallpass does not start')
  process.exitCode = 1
}
