import { parseArgs } from 'node:util'
import { closeTask } from './close-task.ts'
import { manyRows } from './many-rows.ts'
import { againstPeer } from './peer.ts'
import { profile } from './profile.ts'
import { inWorld, runParts, say } from './run.ts'
import { sharedWrites } from './shared-writes.ts'
import { throughput } from './throughput.ts'

// `npm run bench`, with `-- --only NAME[,NAME]`, `-- --quick` or `-- --profile`. Uses DATABASE_URL, of a role that may create databases,
// else an embedded PostgreSQL in a temporary folder. All that it makes goes with it.

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
  },
})
if (values.profile) await inWorld(values, async world => say(await profile(world)))
else
  await runParts(
    { writes: sharedWrites, close: closeTask, rows: manyRows, peer: againstPeer, throughput },
    values,
  )
