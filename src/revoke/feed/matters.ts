import { dataFor, type Event, type View } from './events.ts'

/** What still matters of the record: the latest of everything that something is dead because of, in memory. */
export interface Matters {
  clear(): void
  add(event: Event): void
  /** Forgets what can matter no more at this moment of the database's clock. Milliseconds since the epoch. */
  forget(now: number): void
  /** The data of a snapshot (contract §8), without what can matter no more. */
  snapshot(view: View, place: { seq: number; at: Date }): string
}

/** Milliseconds for which what can matter no more is told all the same: readers' clocks may be behind, and forgive tokens some seconds. */
const grace = 120_000

const lists = { task: 'tasks', credential: 'credentials', key: 'keys' } as const

export function createMatters(): Matters {
  type Matter = Pick<Event, 'data' | 'reason' | 'until'>
  const matters: Record<Event['name'], Map<string, Matter>> = {
    task: new Map(),
    credential: new Map(),
    key: new Map(),
  }
  const all = Object.values(matters)

  function forget(now: number): void {
    for (const some of all)
      for (const [about, { until }] of some) if (until + grace <= now) some.delete(about)
  }

  return {
    clear() {
      for (const some of all) some.clear()
    },
    add({ name, about, kills, data, reason, until }) {
      if (kills) matters[name].set(about, { data, reason, until })
      else matters[name].delete(about)
    },
    forget,
    snapshot(view, place) {
      forget(place.at.getTime())
      const members = Object.entries(lists).map(([name, list]) => {
        const items = [...matters[name as Event['name']].values()].map(matter => dataFor(matter, view))
        return `"${list}":[${items.join(',')}]`
      })
      return `{${members.join(',')},${JSON.stringify(place).slice(1)}`
    },
  }
}
