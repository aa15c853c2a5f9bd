import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { openFeedDoor, reading } from '../support/feed-door.ts'
import { anEnd, type TestRecord } from '../support/record.ts'

/** A bound for a machine that does much else besides. */
const soon = { timeout: 10_000 }

const numbers = (text: string) =>
  [...text.matchAll(/^id: \w+-(\d+)\nevent: (?!snapshot)/gm)].map(([, n]) => Number(n))
const append = async (record: TestRecord, count: number) => {
  for (let n = 0; n < count; n += 1_000)
    await record.append(Array.from({ length: Math.min(1_000, count - n) }, () => anEnd()))
}
const lastSeq = async (record: TestRecord) => (await record.rows()).at(-1)?.seq ?? 0

/** Bytes of its own that one reader can make the broker hold: a slice of a snapshot, or a chunk of the ring. */
const most = 64 * 1024

// Side by side: they wait for ten seconds to pass.
describe.concurrent('readers who do not read', { timeout: 90_000 }, () => {
  it('hold up nobody, make the broker hold a bounded number of bytes, are cut off, and miss nothing when they come back', async ({
    expect,
    onTestFinished,
  }) => {
    const door = await openFeedDoor()
    onTestFinished(door.close)
    const slow: Socket[] = []
    while (slow.length < 20) slow.push(await door.connect())
    const quick = reading(await door.connect())
    let largest = 0
    const watch = setInterval(() => {
      largest = Math.max(largest, ...door.sockets.map(({ writableLength }) => writableLength))
    }, 1)
    // Far more than the ring has, and than the kernel takes for them.
    const count = 70_000
    await append(door.record, count)
    await expect.poll(() => numbers(quick.text).length, { timeout: 60_000 }).toBe(count)
    clearInterval(watch)

    expect(largest).toBeGreaterThan(0)
    expect(largest).toBeLessThanOrEqual(most)
    expect(numbers(quick.text)).toEqual(Array.from({ length: count }, (_, i) => 1 + i))
    await expect.poll(() => door.cutOff, { timeout: 60_000 }).toBe(20)

    // What one of them got before it was cut is whole events, without a gap, and it goes on from there: with a snapshot, since the
    // ring has not held so much.
    const socket = slow[7] as Socket
    const got = reading(socket)
    await once(socket, 'close')
    const whole = got.text.slice(0, got.text.lastIndexOf('\n\n') + 2)
    const had = numbers(whole)
    expect(had).toEqual(Array.from({ length: had.length }, (_, i) => 1 + i))
    expect(had.length).toBeLessThan(count)
    const [lastId] = [...whole.matchAll(/^id: (.*)$/gm)].at(-1)?.slice(1) ?? []
    const again = reading(await door.connect(lastId))
    await expect.poll(() => again.text, { timeout: 10_000 }).toContain('event: tick')
    expect(again.text).toMatch(new RegExp(`^id: \\w+-${count}\nevent: snapshot\n`))
  })

  it('of a large snapshot are cut off as well, having had no more than a slice of it at a time', async ({
    expect,
    onTestFinished,
  }) => {
    // More than the kernel takes.
    const door = await openFeedDoor({ before: record => append(record, 60_000) })
    onTestFinished(door.close)
    const quick = reading(await door.connect())
    const slow = await door.connect()
    const [, socket] = door.sockets as [Socket, Socket]
    let largest = 0
    const watch = setInterval(() => {
      largest = Math.max(largest, socket.writableLength)
    }, 5)
    await expect.poll(() => quick.text.endsWith('}\n\n'), { timeout: 10_000 }).toBe(true)
    await once(socket, 'close')
    clearInterval(watch)
    expect(largest).toBeGreaterThan(0)
    expect(largest).toBeLessThanOrEqual(most)
    expect(door.cutOff).toBe(1)
    slow.destroy()
  })
})

it('those who read slowly, but read, get all of a large snapshot and everything after it', async () => {
  const door = await openFeedDoor({ before: record => append(record, 20_000) })
  const { record } = door
  try {
    const socket = await door.connect()
    socket.setEncoding('utf8')
    let text = ''
    let seq = 0
    for (let round = 0; !text.includes('event: tick'); round++) {
      text += socket.read() ?? ''
      if (round % 10 === 0 && seq < 50) {
        await record.append([anEnd()])
        seq++
      }
      await sleep(2)
    }
    const last = await lastSeq(record)
    await expect
      .poll(() => {
        text += socket.read() ?? ''
        return numbers(text).at(-1)
      }, soon)
      .toBe(last)
    const [, data = ''] = /^id: .*\nevent: snapshot\ndata: (.*)$/m.exec(text) ?? []
    const snapshot = JSON.parse(data) as { tasks: unknown[]; seq: number }
    const after = numbers(text)
    expect(after).toEqual(Array.from({ length: after.length }, (_, i) => snapshot.seq + 1 + i))
    expect(after.length).toBeGreaterThan(0)
    // No tick comes before everything that it speaks for.
    let known = 0
    for (const [, id, tick] of text.matchAll(/^id: \w+-(\d+)$|^data: \{"seq":(\d+),"at"/gm)) {
      if (id !== undefined) known = Number(id)
      else expect(known).toBeGreaterThanOrEqual(Number(tick))
    }
    expect(door.cutOff).toBe(0)
  } finally {
    await door.close()
  }
})

it('with a ring that holds next to nothing, readers who come back get a snapshot and know all the same what is dead', async () => {
  const door = await openFeedDoor({ ringSize: { frames: 5, bytes: 100_000 } })
  const { record } = door
  try {
    let lastEventId: string | undefined
    let dead = new Set<string>()
    let snapshots = 0
    for (let round = 0; round < 40; round++) {
      await record.append(Array.from({ length: Math.floor(Math.random() * 9) }, () => anEnd()))
      const seen = reading(await door.connect(lastEventId))
      await expect.poll(() => seen.text, soon).toContain('event: tick')
      for (const [, id, event, data = ''] of seen.text.matchAll(/^id: (.*)\nevent: (.*)\ndata: (.*)$/gm)) {
        lastEventId = id
        if (event === 'snapshot') {
          snapshots++
          dead = new Set(
            (JSON.parse(data) as { tasks: { task_id: string }[] }).tasks.map(task => task.task_id),
          )
        } else dead.add((JSON.parse(data) as { task_id: string }).task_id)
      }
      expect([...dead].sort()).toEqual((await record.rows()).map(({ about }) => about).sort())
    }
    expect(snapshots).toBeGreaterThan(5)
    expect(snapshots).toBeLessThan(40)
  } finally {
    await door.close()
  }
})

it('a feed that stops lets all of its readers go before anything else, and lets nobody in', async () => {
  const door = await openFeedDoor()
  const clients = [await door.connect(), await door.connect()]
  const gone = Promise.all(clients.map(client => once(client.resume(), 'close')))
  const stopping = door.feed.stop()
  expect(door.sockets.map(({ destroyed }) => destroyed)).toEqual([true, true])
  await Promise.all([stopping, gone])
  expect(door.cutOff).toBe(0)
  expect(() =>
    door.feed.follow(() => expect.unreachable(), { view: 'anonymous', lastEventId: undefined }),
  ).toThrow()
  await door.close()
})
