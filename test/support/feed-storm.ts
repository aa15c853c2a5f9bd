import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { TestBroker } from './broker.ts'
import { type FeedFollower, followFeed } from './feed-follower.ts'
import type { ProcessBroker } from './process-broker.ts'
import { anEnd, aRevokedCredential, openRecord } from './record.ts'
import { startReplicaProcess } from './replica-process.ts'

/** Writes to the record without a pause while `work` goes on; what could not be written is tried again, under another name. */
async function writingMeanwhile(databaseUrl: string, work: () => Promise<void>): Promise<void> {
  const record = openRecord(databaseUrl)
  let working = true
  const writing = (async () => {
    while (working) {
      const some = Array.from({ length: 1 + Math.floor(Math.random() * 20) }, () =>
        Math.random() < 0.7 ? anEnd() : aRevokedCredential(),
      )
      await record.append(some).catch(() => {})
      await sleep(Math.random() * 10)
    }
  })()
  try {
    await work()
  } finally {
    working = false
    await writing
    await record.close()
  }
}

/** Holds what each follower has against the record: everything, once, in order. */
async function checkFollowers(followers: FeedFollower[], databaseUrl: string): Promise<void> {
  const record = openRecord(databaseUrl)
  const rows = await record.rows()
  await record.close()
  const last = rows.at(-1)?.seq
  await expect.poll(() => followers.filter(({ seq }) => seq !== last).length, { timeout: 30_000 }).toBe(0)
  for (const follower of followers) {
    expect(follower.faults).toEqual([])
    expect([...follower.dead.keys()].sort()).toEqual(rows.map(({ about }) => about).sort())
    const { task_id, jti } = follower.events.at(-1)?.data ?? {}
    expect(task_id ?? jti).toBe(rows.at(-1)?.about)
  }
}

async function ended(followers: FeedFollower[]): Promise<void> {
  await Promise.all(followers.map(follower => follower.stop()))
}

/** Replicas that are killed while they publish, one after the other: whoever followed them goes on at another. */
export async function replicasKilled(
  broker: TestBroker,
  { rounds, readers }: { rounds: number; readers: number },
) {
  const replicas = [await startReplicaProcess(broker), await startReplicaProcess(broker)]
  const urls = replicas.map(({ url }) => url)
  const followers = Array.from({ length: readers }, () => followFeed(urls))
  try {
    await expect
      .poll(() => followers.every(({ snapshots }) => snapshots === 1), { timeout: 10_000 })
      .toBe(true)
    await writingMeanwhile(broker.databaseUrl, async () => {
      for (let round = 0; round < rounds; round++) {
        await sleep(200 + Math.random() * 500)
        const which = round % 2
        await replicas[which]?.kill()
        const next = await startReplicaProcess(broker)
        replicas[which] = next
        urls[which] = next.url
      }
    })
    await checkFollowers(followers, broker.databaseUrl)
    // Everybody was cut off at least once, and nobody had to start over.
    expect(Math.max(...followers.map(({ connections }) => connections))).toBeGreaterThan(1)
    expect(followers.map(({ snapshots }) => snapshots)).toEqual(followers.map(() => 1))
  } finally {
    await ended(followers)
    for (const replica of replicas) await replica.kill()
  }
}

/** A PostgreSQL that is killed, and comes back, under those who follow: none of them notices more than that ticks are late. */
export async function databaseRestarted(
  broker: ProcessBroker,
  { rounds, readers }: { rounds: number; readers: number },
) {
  const followers = Array.from({ length: readers }, () => followFeed([broker.url]))
  try {
    await expect
      .poll(() => followers.every(({ snapshots }) => snapshots === 1), { timeout: 10_000 })
      .toBe(true)
    await writingMeanwhile(broker.databaseUrl, async () => {
      for (let round = 0; round < rounds; round++) {
        await sleep(Math.random() * 500)
        await broker.killDatabase()
        await broker.databaseBack()
        await sleep(500)
      }
    })
    await checkFollowers(followers, broker.databaseUrl)
    expect(followers.map(({ connections, snapshots }) => [connections, snapshots])).toEqual(
      followers.map(() => [1, 1]),
    )
    const ticks = followers.map(follower => follower.ticks.length)
    await expect
      .poll(() => followers.every((follower, i) => follower.ticks.length > ticks[i]!), { timeout: 15_000 })
      .toBe(true)
  } finally {
    await ended(followers)
  }
}
