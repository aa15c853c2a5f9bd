import pino from 'pino'
import { startBroker } from './app.ts'
import { ConfigError, loadConfig } from './config.ts'

const log = pino()

try {
  const config = loadConfig({ env: process.env, cwd: process.cwd() })
  for (const warning of config.warnings) log.warn(warning)
  const broker = await startBroker(config, { log })
  log.info({ url: broker.url, issuer: broker.config.issuer, metrics: broker.metricsUrl }, 'hallpass is open')

  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, async () => {
      if (stopping) return
      stopping = true
      log.info({ signal }, 'draining')
      await broker.close()
      log.info('hallpass is closed')
    })
} catch (error) {
  if (error instanceof ConfigError)
    for (const { path, message } of error.faults) process.stderr.write(`hallpass.yaml: ${path}: ${message}\n`)
  else log.fatal({ err: error }, 'hallpass does not start')
  process.exitCode = 1
}
