import { agentMints, mint, openAgents } from './callers.ts'
import type { BenchDatabase } from './database.ts'
import type { Server } from './processes.ts'
import { type Figure, milliseconds } from './report.ts'
import { inAlternation } from './rounds.ts'
import { addHistory } from './rows.ts'
import { median, ratios } from './statistics.ts'
import type { World } from './world.ts'

/** Two brokers, each with a database of its own, one of which has a long history; mints on each in turn. */
export async function manyRows(world: World): Promise<Figure[]> {
  const rows = world.quick ? 200_000 : 5_000_000
  const full = await world.createDatabase()
  const empty = await world.createDatabase()
  const [fullBroker, emptyBroker] = [await world.startBroker(full), await world.startBroker(empty)]
  const [model] = agentMints(await openAgents(world, fullBroker.url, 1))
  if (model) await mint(fullBroker.url, model)
  await addHistory(full, rows)
  await full.settle()
  await empty.settle()
  const requests = {
    full: agentMints(await openAgents(world, fullBroker.url, 64)),
    empty: agentMints(await openAgents(world, emptyBroker.url, 64)),
  }
  const figures: Figure[] = []
  for (const callers of [32, 1]) {
    const results = await inAlternation(
      world,
      [
        { name: 'full', origin: fullBroker.url, requests: () => requests.full, callers },
        { name: 'empty', origin: emptyBroker.url, requests: () => requests.empty, callers },
      ],
      { rounds: 5, after: 1_500 },
    )
    const p50 = { full: results.full.map(r => r.p50), empty: results.empty.map(r => r.p50) }
    figures.push({
      what: `Mint with ${rows.toLocaleString('en')} credential rows, against an empty table: p50, ${callers} caller${callers > 1 ? 's' : ''}`,
      measured: `${milliseconds(median(p50.full))}, empty ${milliseconds(median(p50.empty))}`,
      ratio: ratios(p50.full, p50.empty),
      target: { most: 1.2 },
    })
  }
  await end([fullBroker, emptyBroker], [full, empty])
  return figures
}

/** Five million rows are not kept for the parts that follow. */
async function end(brokers: Server[], databases: BenchDatabase[]): Promise<void> {
  for (const broker of brokers) await broker.stop()
  for (const database of databases) await database.drop()
}
