import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { closeTask } from './close-task.ts'
import { manyRows } from './many-rows.ts'
import { againstPeer } from './peer.ts'
import { profile } from './profile.ts'
import { type Figure, table } from './report.ts'
import { sharedWrites } from './shared-writes.ts'
import { throughput } from './throughput.ts'
import { openWorld } from './world.ts'

// `npm run bench`, with `-- --only NAME[,NAME]`, `-- --quick` or `-- --profile`. Uses DATABASE_URL, of a role that may create databases,
// else an embedded PostgreSQL in a temporary folder. All that it makes goes with it.

const parts = {
  writes: sharedWrites,
  close: closeTask,
  rows: manyRows,
  peer: againstPeer,
  throughput,
}
type Part = keyof typeof parts

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
  },
})
const names = values.only?.split(',') ?? Object.keys(parts)
const unknown = names.filter(name => !(name in parts))
if (unknown.length > 0) {
  process.stderr.write(`there is no ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}\n`)
  process.exit(2)
}

const start = performance.now()
const say = (text: string) => process.stdout.write(`${text}\n`)
const opening = openWorld({ quick: values.quick })
// Whoever interrupts it leaves nothing behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => opening.then(({ close }) => close()).finally(() => process.exit(130)))
const world = await opening
try {
  if (values.profile) {
    say(await profile(world))
  } else {
    const figures: Figure[] = []
    for (const name of names as Part[]) {
      const from = performance.now()
      figures.push(...(await parts[name](world)))
      say(`${name}: ${Math.round((performance.now() - from) / 1000)} s, load ${loadavg()[0]?.toFixed(1)}`)
    }
    say(`\n${table(figures)}\n`)
  }
} finally {
  await world.close()
}
say(
  `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, ${Math.round((performance.now() - start) / 1000)} s in all`,
)
