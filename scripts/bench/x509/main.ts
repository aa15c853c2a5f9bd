import { parseArgs } from 'node:util'
import { runParts } from '../run.ts'
import { cpu } from './cpu.ts'
import { crl } from './crl.ts'
import { throughput } from './throughput.ts'

// `npm run bench:x509`, with `-- --only NAME[,NAME]` or `-- --quick`. Uses DATABASE_URL, of a role that may create databases, else an
// embedded PostgreSQL in a temporary folder. All that it makes goes with it.

const { values } = parseArgs({
  options: { only: { type: 'string' }, quick: { type: 'boolean', default: false } },
})
await runParts({ throughput, cpu, crl }, values)
