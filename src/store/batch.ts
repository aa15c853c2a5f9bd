interface Options {
  /** Items at a time. */
  most: number
  /** Whether an error would only repeat for others. */
  isShared: (error: unknown) => boolean
}

type Run<Item, Answer> = (items: Item[]) => Promise<(Answer | Promise<Answer>)[]>

/**
 * Lets callers that arrive while a write is under way share the next one: one transaction, one flush to disk, for all of them.
 *
 * `run` answers for each item in order; an answer may itself be a promise, for an item that has to wait for something of
 * its own without holding up the others. When `run` throws and the batch had several items, each is run alone, so that one that
 * cannot be written fails nobody else; `isShared` tells the errors (the database is away) that would only repeat: they fail
 * whoever waits as well, rather than let each batch in turn wait for the same.
 */
export function batched<Item, Answer>(
  run: Run<Item, Answer>,
  { most, isShared }: Options,
): (item: Item) => Promise<Answer> {
  interface Waiting {
    item: Item
    resolve: (answer: Answer | Promise<Answer>) => void
    reject: (error: unknown) => void
  }
  let queue: Waiting[] = []
  let busy = false

  async function settle(waiting: Waiting[]): Promise<void> {
    try {
      const answers = await run(waiting.map(w => w.item))
      waiting.forEach((w, i) => {
        w.resolve(answers[i] as Answer | Promise<Answer>)
      })
    } catch (error) {
      if (isShared(error)) for (const w of [...waiting, ...queue.splice(0)]) w.reject(error)
      else if (waiting.length === 1) for (const w of waiting) w.reject(error)
      else for (const w of waiting) await settle([w])
    }
  }

  async function drain(): Promise<void> {
    busy = true
    while (queue.length > 0) {
      const next = queue.slice(0, most)
      queue = queue.slice(most)
      await settle(next)
    }
    busy = false
  }

  return item =>
    new Promise<Answer>((resolve, reject) => {
      queue.push({ item, resolve, reject })
      if (!busy) void drain()
    })
}

/** The same for each key by itself: the items of one never wait for another's. */
export function batchedBy<Item, Answer>(
  keyOf: (item: Item) => string,
  run: Run<Item, Answer>,
  options: Options,
): (item: Item) => Promise<Answer> {
  const batches = new Map<string, { write: (item: Item) => Promise<Answer>; pending: number }>()
  return async item => {
    const key = keyOf(item)
    const batch = batches.get(key) ?? { write: batched(run, options), pending: 0 }
    batches.set(key, batch)
    batch.pending++
    try {
      return await batch.write(item)
    } finally {
      if (--batch.pending === 0) batches.delete(key)
    }
  }
}
