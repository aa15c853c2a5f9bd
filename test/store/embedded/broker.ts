import { pino } from 'pino'
import { startEmbeddedPostgres } from '../../../src/store/embedded/embedded-postgres.ts'

// What is left of a broker when only its PostgreSQL matters. Prints the URL once it runs.
const postgres = await startEmbeddedPostgres({ dataDir: process.argv[2]!, log: pino({ level: 'silent' }) })
process.once('SIGTERM', async () => {
  await postgres.stop()
  process.exit(0)
})
process.once('SIGUSR2', () => process.exit(3))
console.log(postgres.url)
