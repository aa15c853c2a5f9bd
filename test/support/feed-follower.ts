import { setTimeout as sleep } from 'node:timers/promises'
import { type FeedEvent, type FeedReader, type FeedReaderOptions, readFeed } from './feed-reader.ts'
import { pick } from './scene.ts'

/** A reader that comes back whenever it is cut, with the last ID that it saw, and knows what is dead. */
export interface FeedFollower {
  /** Events in the order in which they came, without snapshots and ticks. */
  events: FeedEvent[]
  ticks: FeedEvent[]
  snapshots: number
  connections: number
  /** Statuses other than 200. */
  refusals: number[]
  /** What was missed or came twice: numbers have no gaps, and do not come again. */
  faults: string[]
  /** What is dead because of all that came: by task, credential or key. */
  dead: Map<string, string>
  /** Of the last event. */
  seq: number
  epoch: string
  cut(): void
  stop(): Promise<void>
}

export function followFeed(
  urls: string[],
  options: Omit<FeedReaderOptions, 'lastEventId'> = {},
): FeedFollower {
  let current: FeedReader | null = null
  let stopped = false
  let lastEventId: string | undefined
  const self: FeedFollower = {
    events: [],
    ticks: [],
    snapshots: 0,
    connections: 0,
    refusals: [],
    faults: [],
    dead: new Map(),
    seq: 0,
    epoch: '',
    cut: () => current?.cut(),
    async stop() {
      stopped = true
      current?.cut()
      await running
    },
  }

  async function run(): Promise<void> {
    while (!stopped) {
      current = await readFeed(pick(urls), { ...options, lastEventId, onEvent: take }).catch(() => null)
      if (current?.status === 200) {
        self.connections++
        if (stopped) current.cut()
        await current.ended
      } else if (current) self.refusals.push(current.status)
      if (!stopped) await sleep(Math.random() * 40)
    }
  }

  function take(one: FeedEvent): void {
    if (one.event === 'tick') {
      if (one.data.seq > self.seq) self.faults.push(`a tick of ${one.data.seq} after ${self.seq}`)
      self.ticks.push(one)
      return
    }
    const [epoch = '', number = ''] = one.id?.split('-') ?? []
    const seq = Number(number)
    lastEventId = one.id ?? undefined
    if (one.event === 'snapshot') {
      self.snapshots++
      self.dead.clear()
      for (const data of [...one.data.tasks, ...one.data.credentials, ...one.data.keys])
        apply(data as FeedEvent['data'])
    } else {
      if (epoch !== self.epoch || seq !== self.seq + 1)
        self.faults.push(`${one.id} after ${self.epoch}-${self.seq}`)
      self.events.push(one)
      apply(one.data)
    }
    Object.assign(self, { epoch, seq })
  }

  function apply({ task_id, state, ver, jti, kid }: FeedEvent['data']): void {
    if (task_id && state === 'open' && ver === 1) self.dead.delete(task_id)
    else self.dead.set(task_id ?? jti ?? kid, task_id ? `${state} ${ver}` : 'dead')
  }

  const running = run()
  return self
}
