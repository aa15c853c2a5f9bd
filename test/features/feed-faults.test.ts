import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { renewEpoch } from '../../src/store/record.ts'
import { type DatabaseLink, linkTo } from '../support/database-link.ts'
import { type DeafLink, deafLinkTo } from '../support/deaf-link.ts'
import { type FeedFollower, followFeed } from '../support/feed-follower.ts'
import { readFeed } from '../support/feed-reader.ts'
import { anEnd, aRevokedCredential, openRecord, type TestRecord } from '../support/record.ts'
import { act, opened, pick, type Scene, startScene } from '../support/scene.ts'

/** A bound for a machine that does much else besides. */
const soon = { timeout: 10_000 }

let scene: Scene
let record: TestRecord
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
  record = openRecord(scene.broker.databaseUrl)
})
afterAll(async () => {
  await record?.close()
  await scene?.close()
})

const urls = () => scene.replicas.map(({ url }) => url)
const about = ({ data }: { data: { task_id?: string; jti?: string; kid?: string } }) =>
  data.task_id ?? data.jti ?? data.kid
const isTick = ({ event }: { event: string }) => event === 'tick'

describe('the feed cut at every point and resumed', () => {
  test('10,000 events through 50 random cuts are the record: nothing missed, nothing twice', async () => {
    const follower = followFeed(urls(), { token: scene.agent('service') })
    await expect.poll(() => follower.snapshots, soon).toBe(1)
    const first = follower.seq
    let writing = true
    const cutting = (async () => {
      let cuts = 0
      for (; cuts < 50 || writing; cuts++) {
        await sleep(Math.random() * 30)
        follower.cut()
        // It comes back before it is cut again.
        const { connections } = follower
        await expect.poll(() => follower.connections, { ...soon, interval: 5 }).toBeGreaterThan(connections)
      }
      return cuts
    })()
    for (let written = 0; written < 10_000; ) {
      const some = Array.from(
        { length: Math.min(1 + Math.floor(Math.random() * 40), 10_000 - written) },
        () =>
          Math.random() < 0.8
            ? anEnd({ state: pick(['open', 'suspended', 'closed']), ver: pick([1, 2]) })
            : aRevokedCredential(),
      )
      await record.append(some)
      written += some.length
      if (Math.random() < 0.3) await sleep(Math.random() * 10)
    }
    writing = false
    expect(await cutting).toBeGreaterThanOrEqual(50)
    await expect.poll(() => follower.seq, { timeout: 20_000 }).toBe(first + 10_000)
    await follower.stop()

    expect(follower.faults).toEqual([])
    // Never a snapshot in place of what it missed: the ring held it.
    expect(follower.snapshots).toBe(1)
    const rows = (await record.rows()).filter(({ seq }) => seq > first)
    expect(follower.events.map(event => about(event))).toEqual(rows.map(row => row.about))
  })

  test('invariant 10: whatever ends at the same moment on every replica, each follower has all of it, in order', async () => {
    const followers = [...urls(), ...urls()].map(url => followFeed([url]))
    await expect.poll(() => followers.every(({ snapshots }) => snapshots === 1), soon).toBe(true)
    const { seq: first } = followers[0] as FeedFollower
    // Commits take their time, each another one.
    await scene.broker.sql(`CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_sleep(random() * 0.004); RETURN NULL; END $$`)
    await scene.broker.sql(`CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON revocations
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow_commit()`)
    try {
      const owner = scene.agent('busy')
      await Promise.all(
        Array.from({ length: 40 }, async () => {
          const { id } = await opened(pick(scene.replicas), owner)
          for (const step of ['suspend', 'resume', 'close']) await act(pick(scene.replicas), owner, id, step)
        }),
      )
    } finally {
      await scene.broker.sql('DROP TRIGGER slow_commit ON revocations')
      await scene.broker.sql('DROP FUNCTION slow_commit')
    }
    const rows = (await record.rows()).filter(({ seq }) => seq > first)
    expect(rows).toHaveLength(120)
    await expect.poll(() => followers.map(({ seq }) => seq), soon).toEqual(followers.map(() => first + 120))
    for (const follower of followers) {
      expect(follower.faults).toEqual([])
      expect(follower.events.map(event => about(event))).toEqual(rows.map(row => row.about))
      await follower.stop()
    }
  })
})

describe('a database that was restored', () => {
  const epochs = (followers: FeedFollower[]) => followers.map(({ epoch }) => epoch)

  test('is another epoch, on every replica the same, and everybody starts over with a snapshot', async () => {
    const ends = Array.from({ length: 20 }, () => anEnd() as { taskId: string } & ReturnType<typeof anEnd>)
    await record.append(ends)
    const followers = urls().map(url => followFeed([url]))
    const has = (snapshots: number) =>
      followers.every(follower => follower.snapshots === snapshots && follower.ticks.length > 0)
    await expect.poll(() => has(1), soon).toBe(true)
    const [one, two] = followers as [FeedFollower, FeedFollower]
    const { epoch, seq } = one
    // What a restore does to whoever is connected.
    await scene.broker.sql(
      `WITH back AS (UPDATE revocation_counter SET seq = seq - 7 RETURNING seq)
      DELETE FROM revocations WHERE seq > (SELECT seq FROM back)`,
    )
    await expect.poll(() => has(2), soon).toBe(true)
    expect(one.epoch).not.toBe(epoch)
    expect(two.epoch).toBe(one.epoch)
    expect([one.seq, two.seq]).toEqual([seq - 7, seq - 7])
    const known = ({ dead }: FeedFollower) => ends.map(({ taskId }) => dead.has(taskId))
    expect(known(one)).toEqual(ends.map((_, i) => i < 13))
    expect(known(two)).toEqual(known(one))
    // And goes on from there.
    await record.append([anEnd()])
    await expect.poll(() => followers.map(follower => follower.seq), soon).toEqual([seq - 6, seq - 6])
    for (const follower of followers) {
      expect(follower.faults).toEqual([])
      await follower.stop()
    }
    // Who held an ID of before gets a snapshot, although there is such a number again.
    const late = await readFeed(pick(urls()), { lastEventId: `${epoch}-${seq - 6}` })
    await late.find(isTick)
    expect(late.events[0]?.event).toBe('snapshot')
    late.cut()
  })

  test('is noticed though its numbers have grown past what was seen: the rows are others', async () => {
    await record.append(Array.from({ length: 20 }, () => anEnd()))
    const follower = followFeed(urls())
    await expect.poll(() => follower.ticks.length, soon).toBeGreaterThan(0)
    const { epoch, seq } = follower
    await scene.broker.sql(
      `WITH new AS (SELECT seq, gen_random_uuid() AS task_id FROM revocations ORDER BY seq DESC LIMIT 5),
        more AS (UPDATE revocation_counter SET seq = seq + 2 RETURNING seq),
        grown AS (INSERT INTO revocations SELECT more.seq - n, r.at, gen_random_uuid(), r.state, r.ver, NULL, r.reason, r.until
          FROM more, generate_series(0, 1) AS n, LATERAL (SELECT * FROM revocations WHERE task_id IS NOT NULL ORDER BY seq DESC LIMIT 1) r)
      UPDATE revocations r SET task_id = new.task_id FROM new WHERE r.seq = new.seq AND r.task_id IS NOT NULL`,
    )
    await expect.poll(() => follower.snapshots, { timeout: 10_000 }).toBe(2)
    expect(follower.epoch).not.toBe(epoch)
    expect(follower.seq).toBe(seq + 2)
    expect(follower.faults).toEqual([])
    const rows = await record.rows()
    expect([...follower.dead.keys()]).toEqual(expect.arrayContaining(rows.slice(-7).map(row => row.about)))
    await follower.stop()
  })

  test('can be said to be one by hand', async () => {
    const followers = urls().map(url => followFeed([url]))
    await expect.poll(() => epochs(followers), soon).not.toContain('')
    const [before] = epochs(followers)
    const db = {
      query: (statement: { text: string }, values: unknown[]) => scene.broker.sql(statement.text, values),
    }
    const [row] = await scene.broker.sql<{ epoch: string }>('SELECT epoch FROM revocation_counter')
    await renewEpoch(db as Parameters<typeof renewEpoch>[0], row!.epoch)
    await expect.poll(() => followers.map(({ snapshots }) => snapshots), { timeout: 10_000 }).toEqual([2, 2])
    const [one, two] = epochs(followers)
    expect(one).toBe(two)
    expect(one).not.toBe(before)
    // Whoever finds the old one to be worth nothing comes too late: it is another already.
    await renewEpoch(db as Parameters<typeof renewEpoch>[0], row!.epoch)
    await sleep(1_200)
    expect(epochs(followers)).toEqual([one, two])
    for (const follower of followers) await follower.stop()
  })
})

describe('notifications', () => {
  let deaf: Scene
  let link: DeafLink
  beforeAll(async () => {
    deaf = await startScene({
      through: async url => {
        link = await deafLinkTo(url)
        return link.url
      },
    })
  })
  afterAll(async () => {
    await deaf?.close()
    await link?.close()
  })

  test('that are lost, all of them, make it a second late and no more', async () => {
    const reader = await readFeed(deaf.broker.url)
    const owner = deaf.agent('owner')
    for (let round = 0; round < 5; round++) {
      const { id } = await opened(deaf.broker, owner)
      await act(deaf.broker, owner, id, 'close')
      const answered = performance.now()
      await reader.find(({ data }) => data.task_id === id)
      // A bound for a machine that does much else besides.
      expect(performance.now() - answered).toBeLessThan(3_000)
    }
    expect(link.lost).toBeGreaterThanOrEqual(5)
    reader.cut()
  })

  test('wake the reader: with them it is not the timer that it waits for', async () => {
    const reader = await readFeed(scene.broker.url)
    await reader.find(isTick)
    const taken: number[] = []
    for (let round = 0; round < 15; round++) {
      const end = anEnd()
      await record.append([end])
      const committed = performance.now()
      await reader.find(({ data }) => data.task_id === (end as { taskId: string }).taskId)
      taken.push(performance.now() - committed)
    }
    // Half of the rounds would have to wait for more than 250 ms.
    expect(taken.sort((a, b) => a - b)[7]).toBeLessThan(200)
    reader.cut()
  })

  test('can lose their connection again and again', async () => {
    const follower = followFeed(urls())
    await expect.poll(() => follower.snapshots, soon).toBe(1)
    const { seq } = follower
    let killing = true
    let killed = 0
    const killer = (async () => {
      while (killing) {
        const rows = await scene.broker.sql(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'hallpass-feed'`,
        )
        killed += rows.length
        await sleep(100)
      }
    })()
    for (let round = 1; round <= 10 || killed < 10; round++) {
      await record.append([anEnd()])
      const committed = performance.now()
      await expect.poll(() => follower.seq, { interval: 10, timeout: 5_000 }).toBe(seq + round)
      expect(performance.now() - committed).toBeLessThan(3_000)
    }
    killing = false
    await killer
    expect([follower.faults, follower.connections]).toEqual([[], 1])
    await follower.stop()
  })
})

// Side by side: they wait for ticks that do not come.
describe.concurrent('while the database is away', { timeout: 90_000 }, () => {
  test.for(['cut', 'freeze'] as const)(
    '(%s) there are no ticks, nobody is let in, and then it goes on',
    async (how, { expect, onTestFinished }) => {
      let link: DatabaseLink | undefined
      const away = await startScene({
        through: async url => {
          link = await linkTo(url)
          return link.url
        },
      })
      onTestFinished(async () => {
        await away.close()
        await link?.close()
      })
      const there = openRecord(away.broker.databaseUrl)
      const reader = await readFeed(away.broker.url)
      await reader.find(isTick)
      const at = () => Math.max(...reader.ticks.map(({ data }) => Date.parse(data.at)))
      const cutAt = Date.now()
      link?.[how]()
      const end = anEnd()
      await there.append([end])
      const { status, headers, body } = await away.broker.client.request('GET', '/v1/revocations')
      expect([status, body.code]).toEqual([503, 'unavailable'])
      expect(headers.get('Retry-After')).toMatch(/^[1-9]/)
      // Longer than from tick to tick.
      const { length } = reader.ticks
      await sleep(7_000)
      expect(reader.ticks).toHaveLength(length)
      expect(at()).toBeLessThan(cutAt + 50)
      expect(reader.events.map(({ event }) => event)).toEqual(['snapshot'])

      link?.mend()
      const back = await reader.find(({ data }) => data.task_id === (end as { taskId: string }).taskId)
      expect(back.event).toBe('task')
      await expect.poll(at, { timeout: 30_000 }).toBeGreaterThan(cutAt + 7_000)
      // The tick came after the event that it speaks for.
      expect(reader.ticks.at(-1)?.data.seq).toBe(Number(back.id?.split('-')[1]))
      reader.cut()
      await there.close()
    },
  )
})
