import { describe, expect, it } from 'vitest'
import { HallpassError } from '../../src/errors.ts'
import { batched } from '../../src/store/batch.ts'

const isShared = (error: unknown) => error instanceof HallpassError

/** Ends a write when the test says so. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  return { opened, open }
}

describe('a shared write', () => {
  it('takes what arrives while one is under way into the next one, together', async () => {
    const runs: number[][] = []
    const first = gate()
    const write = batched<number, number>(
      async items => {
        runs.push(items)
        if (runs.length === 1) await first.opened
        return items.map(item => item * 10)
      },
      { most: 100, isShared },
    )
    const answers = [1, 2, 3, 4].map(write)
    first.open()
    expect(await Promise.all(answers)).toEqual([10, 20, 30, 40])
    expect(runs).toEqual([[1], [2, 3, 4]])
  })

  it('is never larger than allowed', async () => {
    const sizes: number[] = []
    const write = batched<number, number>(
      async items => {
        sizes.push(items.length)
        return items
      },
      { most: 3, isShared },
    )
    await Promise.all(Array.from({ length: 10 }, (_, i) => write(i)))
    expect(Math.max(...sizes)).toBe(3)
    expect(sizes.reduce((a, b) => a + b)).toBe(10)
  })

  it('lets an item that cannot be written fail nobody else', async () => {
    const write = batched<number, number>(
      async items => {
        if (items.includes(13)) throw new Error('13')
        return items
      },
      { most: 100, isShared },
    )
    const answers = await Promise.allSettled([1, 2, 13, 4].map(write))
    expect(answers.map(answer => answer.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
  })

  it('fails all at once, those who wait as well, when the database is away', async () => {
    let runs = 0
    const first = gate()
    const write = batched<number, number>(
      async () => {
        runs += 1
        if (runs === 1) await first.opened
        throw new HallpassError('unavailable', 'away')
      },
      { most: 100, isShared },
    )
    const answers = [1, 2, 3].map(item => write(item).catch(() => 'failed'))
    first.open()
    expect(await Promise.all(answers)).toEqual(['failed', 'failed', 'failed'])
    expect(runs).toBe(1)
  })

  it('goes on after a failure', async () => {
    let fail = true
    const write = batched<number, number>(
      async items => {
        if (fail) throw new HallpassError('unavailable', 'away')
        return items
      },
      { most: 100, isShared },
    )
    await expect(write(1)).rejects.toThrow('away')
    fail = false
    expect(await write(2)).toBe(2)
  })

  it('lets one item wait for something of its own without holding up the next write', async () => {
    const slow = gate()
    const write = batched<number, number>(
      async items => items.map(item => (item === 1 ? slow.opened.then(() => 1) : item)),
      { most: 100, isShared },
    )
    const waiting = write(1)
    expect(await write(2)).toBe(2)
    slow.open()
    expect(await waiting).toBe(1)
  })
})
