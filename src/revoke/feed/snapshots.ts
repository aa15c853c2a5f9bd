import { frame, type View } from './events.ts'
import type { Matters } from './matters.ts'
import { idOf } from './position.ts'
import type { Ring } from './ring.ts'

/** All that matters, in one frame for however many readers. */
export interface Snapshot {
  bytes: Buffer
  /** It has everything up to this number; what came after it is in the ring. */
  seq: number
  /** Bytes of snapshots that were made up to it. */
  made: number
}

export interface Snapshots {
  take(view: View, place: { epoch: string; at: Date }): Snapshot
  /** Whether so many were made since that nobody may keep it in memory any longer by reading it slowly. */
  isOld(snapshot: Snapshot): boolean
  clear(): void
}

/** The part of the time that may go into making them: where they are large and many come, one is handed out for a while. */
const share = 1 / 20
/** Bytes of snapshots that readers can make the broker hold. */
const heldMost = 128 * 1024 * 1024

export function createSnapshots({ matters, ring }: { matters: Matters; ring: Ring }): Snapshots {
  /** `until`: when the next one may be made, in milliseconds by the monotonic clock. */
  const latest = new Map<View, { snapshot: Snapshot; until: number }>()
  let made = 0

  return {
    take(view, { epoch, at }) {
      const begun = performance.now()
      const known = latest.get(view)
      const seq = ring.end()
      if (known && (known.snapshot.seq === seq || (begun < known.until && ring.holds(known.snapshot.seq))))
        return known.snapshot
      const bytes = frame('snapshot', matters.snapshot(view, { seq, at }), idOf({ epoch, seq }))
      made += bytes.length
      const snapshot = { bytes, seq, made }
      const ready = performance.now()
      latest.set(view, { snapshot, until: ready + (ready - begun) / share })
      return snapshot
    },
    isOld: snapshot => made - snapshot.made > heldMost,
    clear: () => latest.clear(),
  }
}
