import { csrOf, newKeyPair } from '../../../test/support/csr.ts'
import { type Agent, agentMints, audience, bearer, openAgents } from '../callers.ts'
import { cpuOf } from '../cpu.ts'
import type { Request } from '../load-plan.ts'
import { type Figure, microsecondsEach, milliseconds, perSecond } from '../report.ts'
import { inAlternation, type Round } from '../rounds.ts'
import { median, ratios, spreadOf } from '../statistics.ts'
import type { World } from '../world.ts'

/** Certificates through HTTP, the CSR checked and the row committed, in turn with tokens of the same agents' tasks. */
export async function throughput(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const broker = await world.startBroker(database)
  const agents = await openAgents(world, broker.url, 64)
  const requests = { tokens: agentMints(agents), certificates: agents.map(certificateRequest) }
  const cpu = () => [cpuOf(broker.pid), world.databaseCpu()]
  const contender = <Name extends keyof typeof requests>(name: Name) => ({
    name,
    origin: broker.url,
    requests: () => requests[name],
    cpu,
  })
  const rounds = await inAlternation(world, [contender('tokens'), contender('certificates')], {
    rounds: 7,
    after: 2_000,
  })
  await broker.stop()
  await database.drop()
  const rates = (name: keyof typeof requests): number[] => rounds[name].map(({ rate }) => rate)
  return [
    {
      what: 'Certificates, CSR checked and row committed, against tokens, 32 callers',
      measured: `${told(rounds.certificates)}; tokens ${told(rounds.tokens)}`,
      ratio: ratios(rates('certificates'), rates('tokens')),
      target: { least: 0.6 },
    },
  ]
}

/** Each agent has a key of its own, as it would. */
export const certificateRequest = ({ svid, taskId }: Agent): Request => ({
  path: `/v1/tasks/${taskId}/credentials`,
  headers: { ...bearer(svid), 'content-type': 'application/json' },
  body: JSON.stringify({ type: 'x509', csr: csrOf(newKeyPair()), scope: 'deploy:prod', audience }),
})

function told(rounds: Round[]): string {
  const { median: middle, least, most } = spreadOf(rounds.map(({ rate }) => rate))
  const p99 = median(rounds.map(round => round.p99))
  const cpu = rounds.reduce((sum, { used }) => sum + (used[0] ?? Number.NaN), 0)
  const answered = rounds.reduce((sum, round) => sum + round.answered, 0)
  return `${perSecond(middle)} (${perSecond(least)} to ${perSecond(most)}), p99 ${milliseconds(p99)}, broker's CPU ${microsecondsEach(cpu, answered)}`
}
