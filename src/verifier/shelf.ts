import type { VerifierRefusal } from './refusal.ts'

/** Documents that were loaded, each under its address, and serve until they are too old. */
export interface Shelf<T> {
  /**
   * One that may be believed now: the one that is held, or else a new one. It is loaded once for all who wait.
   *
   * @throws VerifierRefusal
   */
  current(url: string): Promise<T>
}

export interface ShelfDeps<T> {
  load: (url: string, asked: number) => Promise<T>
  /** Why a document may not be believed now. */
  faultOf: (document: T) => VerifierRefusal | null
  /** Bytes that it takes in memory. */
  sizeOf: (document: T) => number
  /** Bytes of all that are held at once: beyond it the oldest make way. */
  maxHeld: number
  /** Milliseconds after which none is held any more. */
  maxKept: number
  /** Milliseconds that are never understated. */
  elapsed: () => number
}

export interface Loaded {
  /** When it was asked for, in milliseconds that are never understated. */
  readonly asked: number
}

/** Milliseconds in which a document that could not be had is not asked for again. */
const retryAfter = 1000

export function createShelf<T extends Loaded>(deps: ShelfDeps<T>): Shelf<T> {
  const { elapsed, maxKept } = deps
  const held = new Map<string, T>()
  const failed = new Map<string, { refusal: VerifierRefusal; at: number }>()
  const loading = new Map<string, Promise<T>>()

  async function current(url: string): Promise<T> {
    const known = held.get(url)
    if (known && deps.faultOf(known) === null) return known
    const failure = failed.get(url)
    if (failure && elapsed() - failure.at < retryAfter) throw failure.refusal
    return load(url)
  }

  function load(url: string): Promise<T> {
    const under = loading.get(url)
    if (under) return under
    const loaded = fetched(url)
      .then(
        document => {
          keep(url, document)
          return document
        },
        (refusal: VerifierRefusal) => {
          dropOld()
          failed.set(url, { refusal, at: elapsed() })
          throw refusal
        },
      )
      .finally(() => loading.delete(url))
    loading.set(url, loaded)
    return loaded
  }

  async function fetched(url: string): Promise<T> {
    const document = await deps.load(url, elapsed())
    const fault = deps.faultOf(document)
    if (fault !== null) throw fault
    return document
  }

  function keep(url: string, document: T): void {
    dropOld()
    failed.delete(url)
    held.delete(url)
    held.set(url, document)
    let size = 0
    for (const each of held.values()) size += deps.sizeOf(each)
    for (const [oldest, each] of held) {
      if (size <= deps.maxHeld) break
      size -= deps.sizeOf(each)
      held.delete(oldest)
    }
  }

  function dropOld(): void {
    const now = elapsed()
    for (const [url, { asked }] of held) if (now - asked > maxKept) held.delete(url)
    for (const [url, { at }] of failed) if (now - at > retryAfter) failed.delete(url)
  }

  return { current }
}
