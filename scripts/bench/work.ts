/** What a process of the bench can be asked to do: each takes one value, or none, that can be sent to a process, and answers with one. */
export type Tasks = Record<string, (given: never) => unknown>

/** Of one asking. */
export interface Done {
  id: number
  answer: unknown
  /** What was thrown instead. */
  failure: string | null
}

interface Asked {
  id: number
  name: string
  given: never
}

/** In the process that `startWorker` started: does what it is asked, several things at a time, until nobody is there to ask. */
export function work(tasks: Tasks): void {
  process.on('message', async ({ id, name, given }: Asked) => {
    const done: Done = { id, answer: undefined, failure: null }
    try {
      done.answer = await tasks[name]?.(given)
    } catch (error) {
      done.failure = error instanceof Error ? (error.stack ?? error.message) : String(error)
    }
    process.send?.(done)
  })
  process.on('disconnect', () => process.exit())
}

/** Milliseconds of a clock that all processes of the machine share and that nobody sets: on Linux, CLOCK_MONOTONIC. */
export const moment = (): number => Number(process.hrtime.bigint()) / 1e6
