import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { agentMints, isActive, mint, mintRequest, openAgents, openTask } from '../callers.ts'
import { cpuOf } from '../cpu.ts'
import type { BenchDatabase } from '../database.ts'
import { longestSilence, p50And99, startPacedLoad, waitsBetween } from '../pace.ts'
import { type Figure, milliseconds } from '../report.ts'
import { median, spreadOf } from '../statistics.ts'
import { brokerIssuer, type World } from '../world.ts'
import { type Closed, type Closer, createCloser } from './closer.ts'
import { mustHaveTold, readFeed } from './feed-reader.ts'
import { countTree, growTree, type TreeModel } from './tree-rows.ts'

interface Tree extends TreeModel {
  /** Of its deepest task. */
  token: string
}

interface Closing extends Closed {
  /** CPU seconds of PostgreSQL and of both brokers, the mints' meanwhile included. */
  used: { database: number; brokers: number }
}

const agent = '/agent/1'
/** Tasks of each level below the root: 10,000. */
const levels = [100, 900, 9_000]
const credentialsEach = 10
const perSecond = 200
/** Milliseconds of mints before and after each close. */
const calm = 2_000

/**
 * Closes the roots of large trees, one after the other, on two replicas in turn, while agents mint for trees of their own. A task of
 * each level and its credential are real; the rest of a tree are copies of their rows.
 */
export async function closeTree(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const brokers = [await world.startBroker(database), await world.startBroker(database)]
  const origins = brokers.map(({ url }) => url)
  const at = (n: number): string => origins[n % origins.length] as string
  const cpu = () => ({
    database: world.databaseCpu(),
    brokers: brokers.reduce((sum, { pid }) => sum + cpuOf(pid), 0),
  })

  const trees: Tree[] = []
  for (let n = 0; n < (world.quick ? 2 : 8); n++) trees.push(await plant(world, database, at(n)))
  await database.settle()
  const requests = agentMints(await openAgents(world, at(0), 64))
  const readers = await Promise.all(origins.map(readFeed))
  const closers = origins.map(origin => createCloser(world, origin))
  const seedlings = await closeSeedlings(world, origins, closers)

  const load = startPacedLoad(world)
  await load.begin({ origins, requests, perSecond })
  await sleep(calm)
  const closings: Closing[] = []
  for (const [n, tree] of trees.entries()) {
    await mustLive(world, database, at(n), tree)
    await sleep(calm)
    const before = cpu()
    const closed = await closers[n % closers.length]!.close(tree.root, agent)
    const after = cpu()
    closings.push({
      ...closed,
      used: { database: after.database - before.database, brokers: after.brokers - before.brokers },
    })
    await sleep(calm)
    await mustBeDead(world, database, at(n + 1), tree)
  }
  const paced = await load.end()
  for (const reader of readers) {
    mustHaveTold(reader, [...seedlings, ...trees.map(({ root }) => root)])
    reader.close()
  }
  for (const closer of closers) await closer.end()

  const took = spreadOf(closings.map(({ from, until }) => until - from))
  const mints = (of: (closing: Closing) => [number, number]): string => {
    const waits = Float64Array.from(closings.flatMap(closing => waitsBetween(paced, ...of(closing)))).sort()
    const gaps = closings.map(closing => longestSilence(paced, ...of(closing)))
    const { p50, p99 } = p50And99(waits)
    return `p50 ${milliseconds(p50)}, p99 ${milliseconds(p99)}, longest gap ${milliseconds(Math.max(...gaps))}`
  }
  const spent = (of: keyof Closing['used']): string => {
    const seconds = median(closings.map(({ used }) => used[of]))
    return Number.isNaN(seconds) ? 'not known' : `${Math.round(seconds * 1_000)} ms`
  }
  return [
    {
      what: 'Closing a task with 10,000 live descendants, 10 live credentials each, one event on the feed',
      measured:
        `p50 ${milliseconds(took.median)} (${milliseconds(took.least)} to ${milliseconds(took.most)}), ${closings.length} trees; ` +
        `CPU meanwhile: PostgreSQL ${spent('database')}, both brokers ${spent('brokers')}`,
      limits: [{ of: 'slowest', ms: took.most, most: 1_000 }],
    },
    {
      what: `Mints of other trees meanwhile, ${perSecond}/s on two replicas`,
      measured: `${mints(({ from, until }) => [from, until])}; in the ${calm / 1_000} s before ${mints(({ from }) => [from - calm, from])}`,
    },
  ]
}

/** A tree of which a task of each level was opened, and minted for, by the broker itself. */
async function plant(world: World, database: BenchDatabase, url: string): Promise<Tree> {
  const svid = world.agents.svid(agent, { audience: brokerIssuer })
  const open = (parent?: string) => openTask(url, svid, `run-${randomUUID()}`, parent)
  const root = await open()
  const path: string[] = []
  let token = await mint(url, mintRequest(svid, root))
  for (const _ of levels) {
    const task = await open(path.at(-1) ?? root)
    path.push(task)
    token = await mint(url, mintRequest(svid, task))
  }
  await growTree(database, { root, path }, { levels, credentialsEach })
  return { root, path, token }
}

/** What runs for the first time is slow: trees of two tasks, closed beforehand. Answers their roots. */
async function closeSeedlings(world: World, origins: string[], closers: Closer[]): Promise<string[]> {
  const svid = world.agents.svid(agent, { audience: brokerIssuer })
  const roots: string[] = []
  for (let n = 0; n < 10; n++)
    for (const [i, url] of origins.entries()) {
      const root = await openTask(url, svid, `run-${randomUUID()}`)
      await openTask(url, svid, `run-${randomUUID()}`, root)
      await closers[i]!.close(root, agent)
      roots.push(root)
    }
  return roots
}

async function mustLive(
  world: World,
  database: BenchDatabase,
  url: string,
  { root, token }: Tree,
): Promise<void> {
  const tasks = levels.reduce((sum, count) => sum + count, 0)
  const { open, live } = await countTree(database, root)
  if (open !== tasks || live !== tasks * credentialsEach || !(await isActive(world, url, token)))
    throw new Error(`before the close ${open} tasks are open, and ${live} credentials live`)
}

async function mustBeDead(
  world: World,
  database: BenchDatabase,
  url: string,
  { root, token }: Tree,
): Promise<void> {
  const { open, live, recorded } = await countTree(database, root)
  if (open > 0 || live > 0 || recorded !== 1 || (await isActive(world, url, token)))
    throw new Error(
      `after the close ${open} tasks are open, ${live} credentials live, ${recorded} rows recorded`,
    )
}
