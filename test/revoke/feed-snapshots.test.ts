import { describe, expect, it } from 'vitest'
import { newId } from '../../src/ids.ts'
import { eventOf } from '../../src/revoke/feed/events.ts'
import { createMatters } from '../../src/revoke/feed/matters.ts'
import { createRing } from '../../src/revoke/feed/ring.ts'
import { createSnapshots } from '../../src/revoke/feed/snapshots.ts'
import type { RecordRow } from '../../src/store/record.ts'
import { anEnd } from '../support/record.ts'

const epoch = '0123456789abcdef'

/** What a feed has of the record, without the record. */
function setting() {
  const ring = createRing({ frames: 100, bytes: 1_000_000 })
  const matters = createMatters()
  ring.reset(0)
  let seq = 0
  const end = (more: Parameters<typeof anEnd>[0] = {}) => {
    seq++
    const event = eventOf({ ...anEnd(more), seq } as RecordRow)
    matters.add(event)
    const bytes = Buffer.from(event.data)
    ring.append({ seq, bytes: { anonymous: bytes, authenticated: bytes } })
  }
  const snapshots = createSnapshots({ matters, ring })
  return { end, snapshots, take: () => snapshots.take('anonymous', { epoch, at: new Date() }) }
}

const dataOf = ({ bytes }: { bytes: Buffer }) => {
  const [, id, data = ''] = /^id: (.*)\nevent: snapshot\ndata: (.*)\n\n$/.exec(bytes.toString()) ?? []
  return {
    id,
    ...(JSON.parse(data) as { tasks: { task_id: string; state: string }[]; seq: number; at: string }),
  }
}

describe('a snapshot', () => {
  it('is made once for everybody, and anew once more has ended', () => {
    const { end, take } = setting()
    end()
    const one = take()
    expect(take()).toBe(one)
    expect(dataOf(one)).toMatchObject({ id: `${epoch}-1`, seq: 1, tasks: [{ state: 'closed' }] })
    end()
    // It took no time worth mentioning: a moment later it may be made again.
    const begun = performance.now()
    while (performance.now() < begun + 50);
    expect(dataOf(take())).toMatchObject({ id: `${epoch}-2`, seq: 2 })
  })

  it('of anonymous readers and that of the others are two', () => {
    const { end, snapshots } = setting()
    const taskId = newId()
    end({ taskId, reason: 'risk' })
    const at = new Date()
    const [anonymous, authenticated] = (['anonymous', 'authenticated'] as const).map(view =>
      dataOf(snapshots.take(view, { epoch, at })),
    )
    expect(anonymous?.tasks[0]).not.toHaveProperty('reason')
    expect(authenticated?.tasks[0]).toEqual({ ...anonymous?.tasks[0], reason: 'risk' })
    expect([anonymous?.at, authenticated?.at]).toEqual([at.toISOString(), at.toISOString()])
  })

  it('that is large is handed out for a while, as long as the ring holds what came after it', () => {
    const { end, take } = setting()
    for (let n = 0; n < 60_000; n++) end()
    const one = take()
    for (let n = 0; n < 100; n++) end()
    expect(take()).toBe(one)
    end()
    const two = take()
    expect(two).not.toBe(one)
    expect(two.seq).toBe(60_101)
  })

  it('is too old for anybody to be at it once so much was made since as the broker is willing to hold', () => {
    const { end, snapshots, take } = setting()
    for (let n = 0; n < 60_000; n++) end()
    const one = take()
    let made = 0
    for (let latest = one; made <= 128 * 1024 * 1024; made += latest.bytes.length) {
      expect(snapshots.isOld(one)).toBe(false)
      for (let n = 0; n < 101; n++) end()
      latest = take()
      expect(snapshots.isOld(latest)).toBe(false)
    }
    expect(snapshots.isOld(one)).toBe(true)
  })

  it('is of its own history alone', () => {
    const { end, snapshots, take } = setting()
    end()
    const one = take()
    snapshots.clear()
    expect(take()).not.toBe(one)
  })
})
