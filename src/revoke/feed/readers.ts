import type { Writable } from 'node:stream'
import type { View } from './events.ts'
import type { Ring } from './ring.ts'
import type { Snapshot, Snapshots } from './snapshots.ts'

/** Those who follow. Each has a place in the ring, and no queue of its own. */
export interface Readers {
  /** From this number on, or from a snapshot. It is let go of when `out` closes. */
  add(out: Writable, reader: { view: View; from: number | Snapshot; tick: Buffer }): void
  /** Hands on what the ring has got, and to all of them this tick, once they have everything before it. */
  pump(tick: Buffer | null): void
  /** Ends every connection. */
  endAll(): void
  /** Cuts off those who take too long. */
  cutOff(): void
}

interface Reader {
  out: Writable
  view: View
  /** It has everything up to this number. */
  seq: number
  snapshot: { of: Snapshot; sent: number; since: number } | null
  /** The frame of a tick that it is still to be given: after everything else. */
  tick: Buffer | null
  /** Since when what was last written is not taken; nothing more is written meanwhile. By the monotonic clock. */
  busySince: number | null
  onWritten: () => void
}

/** Bytes of a snapshot that are under way to one reader; they are the snapshot's own, not a copy. */
const sliceMost = 64 * 1024
/** Milliseconds for a reader to take what was written, and to take a whole snapshot. */
const takeMost = 10_000
const snapshotMost = 60_000

export interface ReadersDeps {
  ring: Ring
  snapshots: Pick<Snapshots, 'isOld'>
  onReader: ((view: View, by: 1 | -1) => void) | undefined
  onCutOff: (() => void) | undefined
}

export function createReaders({ ring, snapshots, onReader, onCutOff }: ReadersDeps): Readers {
  const readers = new Set<Reader>()

  function letGo(reader: Reader): void {
    if (!readers.delete(reader)) return
    onReader?.(reader.view, -1)
    reader.out.destroy()
  }

  function cut(reader: Reader): void {
    letGo(reader)
    onCutOff?.()
  }

  /** Writes until there is nothing more, or until the reader has to catch up. */
  function pumpOne(reader: Reader): void {
    while (reader.busySince === null && readers.has(reader) && reader.out.writable) {
      const bytes = next(reader)
      if (!bytes) return
      reader.out.write(bytes, reader.onWritten)
      if (reader.out.writableLength > 0) reader.busySince = performance.now()
    }
  }

  function next(reader: Reader): Buffer | null {
    if (reader.snapshot) return nextSlice(reader, reader.snapshot)
    if (!ring.holds(reader.seq)) {
      cut(reader)
      return null
    }
    const chunk = ring.after(reader.seq, reader.view)
    if (chunk) {
      reader.seq = chunk.seq
      return chunk.bytes
    }
    // It has everything there is, and so everything that any tick speaks for.
    reader.seq = Math.max(reader.seq, ring.end())
    const { tick } = reader
    reader.tick = null
    return tick
  }

  return {
    add(out, { view, from, tick }) {
      if (out.destroyed) return
      const snapshot = typeof from === 'number' ? null : { of: from, sent: 0, since: performance.now() }
      const reader: Reader = {
        out,
        view,
        seq: typeof from === 'number' ? from : from.seq,
        snapshot,
        tick,
        busySince: null,
        onWritten: () => {
          if (reader.busySince === null || out.writableLength > 0) return
          reader.busySince = null
          pumpOne(reader)
        },
      }
      readers.add(reader)
      onReader?.(view, 1)
      out.once('close', () => letGo(reader))
      pumpOne(reader)
    },
    pump(tick) {
      for (const reader of readers) {
        if (tick) reader.tick = tick
        if (reader.busySince === null) pumpOne(reader)
      }
    },
    endAll() {
      for (const reader of readers) letGo(reader)
    },
    cutOff() {
      const now = performance.now()
      for (const reader of readers) {
        const { busySince, snapshot } = reader
        const isSlow = busySince !== null && now - busySince > takeMost
        const isAtSnapshot = snapshot && (now - snapshot.since > snapshotMost || snapshots.isOld(snapshot.of))
        if (isSlow || isAtSnapshot) cut(reader)
      }
    },
  }
}

function nextSlice(reader: Reader, snapshot: NonNullable<Reader['snapshot']>): Buffer {
  const { bytes } = snapshot.of
  const slice = bytes.subarray(snapshot.sent, snapshot.sent + sliceMost)
  snapshot.sent += slice.length
  if (snapshot.sent >= bytes.length) reader.snapshot = null
  return slice
}
