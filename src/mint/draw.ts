import { randomInt } from 'node:crypto'

/** The numbers below `size` in an order that nobody can foresee, each of them once. */
export interface Draw {
  /** How many are still to come. */
  left(): number
  /** The next one; only while there are some left. */
  next(): number
}

/** A shuffle (Fisher and Yates; Knuth, TAOCP 3.4.2, algorithm P) of which each draw is one step. `size` is below 2^31. */
export function drawFrom(size: number): Draw {
  // What stands at each place, XOR the place: all zeros to begin with, so that nothing has to be filled in, and the memory of
  // what was never touched is never there.
  const moved = new Uint32Array(size)
  const standing = (place: number) => (moved[place] as number) ^ place
  let drawn = 0
  return {
    left: () => size - drawn,
    next() {
      const place = randomInt(drawn, size)
      const number = standing(place)
      moved[place] = standing(drawn) ^ place
      drawn += 1
      return number
    },
  }
}
