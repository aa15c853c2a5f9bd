import { agentMints, inTurns, introspections, mint, openAgents } from './callers.ts'
import { cpuOf } from './cpu.ts'
import { type Figure, microsecondsEach, milliseconds, perSecond } from './report.ts'
import { inAlternation, type Round } from './rounds.ts'
import { median, spreadOf } from './statistics.ts'
import type { World } from './world.ts'

/** How many a second, how long each, and whose CPU. */
export async function throughput(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const broker = await world.startBroker(database)
  const agents = agentMints(await openAgents(world, broker.url, 64))
  const tokens = await inTurns(Array.from({ length: 640 }), (_, n) => mint(broker.url, agents[n % 64]!))
  const asked = introspections(world, tokens)
  const cpu = () => [cpuOf(broker.pid), world.databaseCpu()]
  const results = await inAlternation(
    world,
    [
      { name: 'Mints', origin: broker.url, requests: () => agents, cpu },
      { name: 'Introspections', origin: broker.url, requests: () => asked, cpu },
    ],
    { rounds: 5, after: 2_000 },
  )
  await broker.stop()
  await database.drop()
  return Object.entries(results).map(([name, rounds]) => ({
    what: `${name}, 32 callers`,
    measured: told(rounds),
  }))
}

function told(rounds: Round[]): string {
  const middle = (of: (round: Round) => number) => median(rounds.map(of))
  const { least, most } = spreadOf(rounds.map(round => round.rate))
  const each = (of: (round: Round) => number): string => {
    const seconds = rounds.reduce((sum, round) => sum + of(round), 0)
    const requests = rounds.reduce((sum, round) => sum + round.answered, 0)
    return Number.isNaN(seconds) ? 'not known' : microsecondsEach(seconds, requests)
  }
  return [
    `${perSecond(middle(r => r.rate))} (${perSecond(least)} to ${perSecond(most)})`,
    `p50 ${milliseconds(middle(r => r.p50))}, p99 ${milliseconds(middle(r => r.p99))}`,
    `CPU each: broker ${each(r => r.used[0] ?? Number.NaN)}, PostgreSQL ${each(r => r.used[1] ?? Number.NaN)},` +
      ` load generator ${each(r => r.cpu)}`,
  ].join('; ')
}
