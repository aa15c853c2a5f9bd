import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isUnavailable } from '../../src/store/failure.ts'
import { waitingRoom } from '../../src/store/waiting.ts'

/** Ends its work when the test says so. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  return { opened, open }
}

describe('those who wait for rows', () => {
  it('take their turns: of one key one at a time, and few in all, each in the order of coming', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e'), steps: fc.nat(3) }), {
          maxLength: 30,
        }),
        async (most, works) => {
          const waiting = waitingRoom({ most, patience: 10_000 })
          const running: string[] = []
          const begun: Record<string, number[]> = {}
          let highest = 0
          const answers = await Promise.all(
            works.map(({ key, steps }, n) =>
              waiting(key, async () => {
                expect(running).not.toContain(key)
                running.push(key)
                begun[key] = [...(begun[key] ?? []), n]
                highest = Math.max(highest, running.length)
                for (let step = 0; step < steps; step++) await Promise.resolve()
                running.splice(running.indexOf(key), 1)
                return n
              }),
            ),
          )
          expect(answers).toEqual(works.map((_, n) => n))
          expect(highest).toBeLessThanOrEqual(most)
          for (const order of Object.values(begun)) expect(order).toEqual(order.toSorted((a, b) => a - b))
        },
      ),
    )
  })

  it('do not hold up those of another key', async () => {
    const waiting = waitingRoom({ most: 2, patience: 10_000 })
    const long = gate()
    const slow = waiting('a', () => long.opened)
    const next = waiting('a', async () => 'next')
    expect(await waiting('b', async () => 'other')).toBe('other')
    long.open()
    await slow
    expect(await next).toBe('next')
  })

  it('let what is urgent go first, in the order of its coming', async () => {
    const waiting = waitingRoom({ most: 2, patience: 10_000 })
    const long = gate()
    const order: string[] = []
    const slow = waiting('a', () => long.opened)
    const come = (name: string, urgent: boolean) =>
      waiting('a', async () => void order.push(name), { urgent })
    const all = [
      come('1', false),
      come('2', false),
      come('first', true),
      come('second', true),
      come('3', false),
    ]
    long.open()
    await Promise.all([slow, ...all])
    expect(order).toEqual(['first', 'second', '1', '2', '3'])
  })

  it('go by turns: however many wait for one, somebody who waits for another is next', async () => {
    const waiting = waitingRoom({ most: 1, patience: 10_000 })
    const long = gate()
    const order: string[] = []
    const slow = waiting('a', () => long.opened)
    const come = (key: string, urgent = false) => waiting(key, async () => void order.push(key), { urgent })
    const many = Array.from({ length: 20 }, () => come('a'))
    const others = [come('b'), come('c'), come('d', true)]
    long.open()
    await Promise.all([slow, ...many, ...others])
    expect(order.slice(0, 4)).toEqual(['d', 'a', 'b', 'c'])
    expect(order).toHaveLength(23)
  })

  it('give their turn back when they fail', async () => {
    const waiting = waitingRoom({ most: 1, patience: 10_000 })
    await expect(waiting('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await waiting('a', async () => 1)).toBe(1)
  })

  it('are told that it is unavailable when their turn does not come, and then take none', async () => {
    const waiting = waitingRoom({ most: 1, patience: 5 })
    const long = gate()
    const slow = waiting('a', () => long.opened)
    let ran = false
    const impatient = ['a', 'b'].map(key =>
      waiting(key, async () => {
        ran = true
      }).catch(isUnavailable),
    )
    expect(await Promise.all(impatient)).toEqual([true, true])
    long.open()
    await slow
    expect(await waiting('a', async () => 1)).toBe(1)
    expect(ran).toBe(false)
  })
})
