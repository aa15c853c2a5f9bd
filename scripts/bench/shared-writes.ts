import { agentMints, mint, openAgents } from './callers.ts'
import { cpuOf } from './cpu.ts'
import type { BenchDatabase } from './database.ts'
import type { Request } from './load-plan.ts'
import { type Figure, microsecondsEach, perSecond } from './report.ts'
import { inAlternation, type Round } from './rounds.ts'
import { median, ratios } from './statistics.ts'
import type { World } from './world.ts'

/** What it costs that a mint is revocable and logged: the same broker over the same tasks, with its writes and without. */
export async function sharedWrites(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const writing = await world.startBroker(database)
  const without = await world.startBroker(database, [
    '--import',
    new URL('without-writes.ts', import.meta.url).href,
  ])
  const requests = agentMints(await openAgents(world, writing.url, 64))
  await mustWrite(database, without.url, requests, 0)
  await mustWrite(database, writing.url, requests, 1)
  const contender = <Name extends string>(name: Name, { url, pid }: typeof writing) => ({
    name,
    origin: url,
    requests: () => requests,
    cpu: () => [cpuOf(pid)],
  })
  const results = await inAlternation(world, [contender('writing', writing), contender('without', without)], {
    rounds: 6,
    after: 2_000,
  })
  await Promise.all([writing.stop(), without.stop()])
  const rates = (rounds: Round[]) => rounds.map(round => round.rate)
  const told = (rounds: Round[]) =>
    `${perSecond(median(rates(rounds)))}, broker's CPU ${microsecondsEach(sumUsed(rounds), sum(rounds))}`
  return [
    {
      what: 'Mint, revocable and logged, against verified, decided and signed alone: time for each, 32 callers',
      measured: `${told(results.writing)}; without writes ${told(results.without)}`,
      ratio: ratios(rates(results.without), rates(results.writing)),
      target: { most: 1.5 },
    },
  ]
}

/** Sees that the bench's hook has taken hold of the one broker, and of no other. */
async function mustWrite(
  database: BenchDatabase,
  url: string,
  [request]: Request[],
  rows: number,
): Promise<void> {
  if (request) await mint(url, request)
  const found = await database.sql('SELECT jti FROM credentials')
  if (found.length !== rows) throw new Error(`${found.length} credentials are written, not ${rows}`)
}

const sum = (rounds: Round[]): number => rounds.reduce((total, { answered }) => total + answered, 0)
const sumUsed = (rounds: Round[]): number => rounds.reduce((total, { used: [cpu = 0] }) => total + cpu, 0)
