import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  agentMints,
  inTurns,
  introspections,
  type Job,
  jobMints,
  mint,
  newJobs,
  openAgents,
} from './callers.ts'
import type { Outcome, Plan, Request } from './load-plan.ts'
import { type CpuProfile, type SelfTime, selfTimes, summed } from './self-times.ts'
import type { World } from './world.ts'
import { certificateRequest } from './x509/throughput.ts'

/**
 * Runs each kind of load against a broker under Node's sampling profiler, and tells where its time went. Samples are taken by the
 * clock: a system call that wakes another process, and loses its core to it, counts for more than its CPU.
 */
export async function profile(world: World): Promise<string> {
  const texts: string[] = []
  for (const [name, prepare] of Object.entries(kinds)) {
    const folder = join(world.folder, `profile-${texts.length}`)
    await mkdir(folder)
    const { outcome, window } = await underProfile(world, folder, prepare)
    const [file = ''] = (await readdir(folder)).filter(entry => entry.endsWith('.cpuprofile'))
    const recorded = JSON.parse(await readFile(join(folder, file), 'utf8')) as CpuProfile
    texts.push(tell(name, outcome, selfTimes(recorded, window)))
  }
  return texts.join('\n')
}

type Load = Pick<Plan, 'requests' | 'stop'>

/** What is sent, once to warm up and once to be looked at. */
const kinds: Record<string, (world: World, url: string) => Promise<() => Load | Promise<Load>>> = {
  'Mints of agents': async (world, url) => {
    const requests = agentMints(await openAgents(world, url, 64))
    return () => over(world, requests)
  },
  'Certificates of agents': async (world, url) => {
    const requests = (await openAgents(world, url, 64)).map(certificateRequest)
    return () => over(world, requests)
  },
  'Mints of CI jobs, a fresh ID token each': async world => {
    const jobs = newJobs(200, 0)
    return () =>
      onceEach(
        world,
        many(world, n => jobs[n % jobs.length]!),
      )
  },
  'Mints of CI jobs, task opened in the call': async world => {
    let from = 0
    return () => {
      from += 100_000
      const jobs = newJobs(world.quick ? 1_000 : 6_000, from)
      return onceEach(world, jobs)
    }
  },
  Introspections: async (world, url) => {
    const agents = agentMints(await openAgents(world, url, 64))
    const tokens = await inTurns(Array.from({ length: 640 }), (_, n) => mint(url, agents[n % 64]!))
    return () => over(world, introspections(world, tokens))
  },
}

const over = ({ quick }: World, requests: Request[]): Load => ({
  requests,
  stop: { after: quick ? 1_500 : 5_000 },
})
const onceEach = async (world: World, jobs: Job[]): Promise<Load> => ({
  requests: await jobMints(world, jobs),
  stop: 'once',
})
const many = ({ quick }: World, job: (n: number) => Job): Job[] =>
  Array.from({ length: quick ? 1_500 : 8_000 }, (_, n) => job(n))

async function underProfile(
  world: World,
  folder: string,
  prepare: (typeof kinds)[string],
): Promise<{ outcome: Outcome; window: [number, number] }> {
  const database = await world.createDatabase()
  const broker = await world.startBroker(database, [
    '--cpu-prof',
    `--cpu-prof-dir=${folder}`,
    '--cpu-prof-interval=500',
  ])
  const load = await prepare(world, broker.url)
  const plan = async () => ({ origin: broker.url, callers: 32, ...(await load()) })
  await world.load.run(await plan())
  const looked = await plan()
  const from = monotonic()
  const outcome = await world.load.run(looked)
  const until = monotonic()
  // The profile is written at the end of the process.
  await broker.stop()
  await database.drop()
  return { outcome, window: [from, until] }
}

/** Microseconds of the clock that V8 stamps profiles with: on Linux, one for all processes. */
const monotonic = (): number => Number(process.hrtime.bigint() / 1_000n)

const shown = 30

function tell(name: string, { answered, seconds }: Outcome, times: SelfTime[]): string {
  const busy = times.reduce((sum, time) => sum + time.microseconds, 0)
  const each = (microseconds: number) => (microseconds / answered).toFixed(1).padStart(7)
  const part = (microseconds: number) => `${((microseconds / busy) * 100).toFixed(1).padStart(5)} %`
  const line = (microseconds: number, text: string) =>
    `${each(microseconds)} µs ${part(microseconds)}  ${text}`

  const lines = (sums: [string, number][], title: string): string[] => [
    '',
    title,
    ...sums.slice(0, shown).map(([text, microseconds]) => line(microseconds, text)),
  ]
  return [
    `## ${name}: ${Math.round(answered / seconds)}/s under the profiler, ${each(busy).trim()} µs each`,
    ...lines(
      summed(times, time => time.group),
      'By room and package:',
    ),
    ...lines(
      summed(times, time => time.askedBy ?? `none of ours: ${time.group}`),
      'By the function of ours that called for it:',
    ),
    ...lines(
      summed(times, time => `${time.function} (${time.group})`),
      'By function:',
    ),
    '',
  ].join('\n')
}
