import { parseArgs } from 'node:util'
import { runParts } from '../run.ts'
import { check } from './check.ts'
import { latency } from './latency.ts'
import { statusList } from './status-list.ts'
import { closeTree } from './tree.ts'

// `npm run bench:revocation`, with `-- --only NAME[,NAME]` or `-- --quick`. Uses DATABASE_URL, of a role that may create databases, else
// an embedded PostgreSQL in a temporary folder. All that it makes goes with it, but for docs/revocation-latency.svg.

const { values } = parseArgs({
  options: { only: { type: 'string' }, quick: { type: 'boolean', default: false } },
})
await runParts({ latency, check, tree: closeTree, list: statusList }, values)
