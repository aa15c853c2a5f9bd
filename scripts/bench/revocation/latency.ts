import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { agentMints, mint, mintRequest, openAgents, openTask } from '../callers.ts'
import { cpuOf } from '../cpu.ts'
import { p50And99, startPacedLoad, waitsBetween } from '../pace.ts'
import { type Figure, milliseconds, perSecond } from '../report.ts'
import type { Spread } from '../statistics.ts'
import { moment } from '../work.ts'
import { brokerIssuer, type World } from '../world.ts'
import { createCloser } from './closer.ts'
import { type Latencies, latenciesOf, type Sample } from './latencies.ts'
import { drawLatencies } from './latency-svg.ts'
import { type Listen, openReaders, openVerifiers } from './listeners.ts'

interface Measured {
  closes: number
  latencies: Latencies
  /** What the mints and the processors did meanwhile. */
  meanwhile: string
}

const mintsPerSecond = 200
const owner = '/agent/doomed'
/** Closes that warm up, and do not count. */
const warming = 10
const drawing = new URL('../../../docs/revocation-latency.svg', import.meta.url)

/**
 * From the 200 of a close to those who learn of it, half of them on either of two replicas, which close in turn, while agents mint on
 * both. Draws what it finds, unless it was quick.
 */
export async function latency(world: World): Promise<Figure[]> {
  const verifiers = await measure(world, openVerifiers, 50)
  await world.clear()
  const readers = await measure(world, openReaders, 1_000)
  if (!world.quick)
    await writeFile(
      drawing,
      drawLatencies({
        curves: [
          { name: '50 verifiers refuse', sorted: verifiers.latencies.sorted },
          { name: '1,000 readers of the feed are told', sorted: readers.latencies.sorted },
        ],
        caption: `${verifiers.closes} closes each; two brokers, PostgreSQL, ${mintsPerSecond} mints/s and all who listen on the same ${availableParallelism()} cores`,
      }),
    )
  const load = `two replicas, ${mintsPerSecond} mints/s`
  return [
    figureOf(`From the 200 of a close to refusal in each of 50 verifiers; ${load}`, verifiers, [5, 20]),
    figureOf(`From the 200 of a close to each of 1,000 readers of the feed; ${load}`, readers, [20, 100]),
  ]
}

async function measure(world: World, listen: Listen, count: number): Promise<Measured> {
  const closes = world.quick ? 20 : 150
  const database = await world.createDatabase()
  const brokers = [await world.startBroker(database), await world.startBroker(database)]
  const origins = brokers.map(({ url }) => url) as [string, string]
  const listeners = await listen(world, origins, count)
  const closers = origins.map(origin => ({ origin, ...createCloser(world, origin) }))
  const load = startPacedLoad(world)
  const cpu = () => ({
    brokers: sum(brokers.map(({ pid }) => cpuOf(pid))),
    PostgreSQL: world.databaseCpu(),
    listeners: sum(listeners.pids.map(cpuOf)),
    'load generator': cpuOf(load.pid),
  })

  const svid = world.agents.svid(owner, { audience: brokerIssuer })
  await load.begin({
    origins,
    requests: agentMints(await openAgents(world, origins[0], 64)),
    perSecond: mintsPerSecond,
  })
  const samples: Sample[][] = []
  let from = moment()
  let before = cpu()
  for (let n = 0; n < warming + closes; n++) {
    if (n === warming) {
      from = moment()
      before = cpu()
    }
    const { origin: closing, close } = closers[n % closers.length] as (typeof closers)[number]
    const taskId = await openTask(closing, svid, `run-${randomUUID()}`)
    await listeners.hold(await mint(closing, mintRequest(svid, taskId)))
    // Not in step with the feed's own timers.
    await sleep(100 + Math.random() * 100)
    const closed = await close(taskId, owner)
    await sleep(150)
    const learned = await listeners.learned(taskId)
    if (n < warming) continue
    samples.push(
      learned.flatMap(({ origin, moments }) =>
        Array.from(moments, at => {
          if (at < closed.from) throw new Error('the end was known before it was asked for')
          return { ms: at - closed.until, isSame: origin === closing }
        }),
      ),
    )
  }
  const until = moment()
  const after = cpu()
  const paced = await load.end()
  for (const closer of closers) await closer.end()

  const waits = waitsBetween(paced, from, until)
  const rate = (waits.length / (until - from)) * 1_000
  if (rate < mintsPerSecond * 0.95) throw new Error(`there were ${perSecond(rate)} mints`)
  const { p50, p99 } = p50And99(Float64Array.from(waits).sort())
  const busy = Object.entries(before).map(([name, seconds]) => {
    const part = ((after[name as keyof typeof after] - seconds) * 1_000) / (until - from)
    return `${name} ${Number.isNaN(part) ? 'not known' : `${Math.round(part * 100)} %`}`
  })
  return {
    closes,
    latencies: latenciesOf(samples, Math.ceil(closes / 6)),
    meanwhile: `mints ${perSecond(rate)}, p50 ${milliseconds(p50)}, p99 ${milliseconds(p99)}; of one core: ${busy.join(', ')}`,
  }
}

function figureOf(
  what: string,
  { closes, latencies, meanwhile }: Measured,
  [p50, p99]: [number, number],
): Figure {
  const { same, other, before, most, sorted } = latencies
  const told = ({ median, least, most }: Spread) =>
    `${milliseconds(median)} (${milliseconds(least)} to ${milliseconds(most)})`
  return {
    what,
    measured: [
      `p50 ${told(latencies.p50)}, p99 ${told(latencies.p99)}, slowest ${milliseconds(most)}, of ${closes} closes`,
      `p50 on the replica that closed ${milliseconds(same)}, on the other ${milliseconds(other)}`,
      `${((before / sorted.length) * 100).toFixed(1)} % before the answer, counted as 0`,
      meanwhile,
    ].join('; '),
    limits: [
      { of: 'p50', ms: latencies.p50.median, most: p50 },
      { of: 'p99', ms: latencies.p99.median, most: p99 },
    ],
  }
}

const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0)
