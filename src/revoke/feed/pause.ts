/** A wait that can be ended early. */
export interface Pause {
  over: Promise<void>
  end(): void
}

export function pause(milliseconds: number): Pause {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, milliseconds)
  return {
    over: promise,
    end() {
      clearTimeout(timer)
      resolve()
    },
  }
}
