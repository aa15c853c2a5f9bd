import type { View } from './events.ts'

/** An event as it goes out. */
export interface Frame {
  seq: number
  bytes: Record<View, Buffer>
}

/** Events in a row, and the number that a reader has come to once it has them. */
export interface Chunk {
  seq: number
  bytes: Buffer
}

/** The last events, encoded once for all readers, who have no more than a number of where they are. */
export interface Ring {
  /** Forgets everything: what comes next comes after this number. */
  reset(seq: number): void
  append(frame: Frame): void
  /** Says that there is nothing up to this number but what was appended. */
  advance(seq: number): void
  /** The number that a reader has come to who has everything. */
  end(): number
  /** Whether everything after this number is still held. */
  holds(seq: number): boolean
  /** The next events after this number, `chunkMost` bytes or one event at the most; null where there are none, or they are not held. */
  after(seq: number, view: View): Chunk | null
}

export interface RingSize {
  frames: number
  bytes: number
}

/** Bytes that are copied together for readers who are behind: as much as one reader can make the broker hold for it alone. */
const chunkMost = 16 * 1024
/** Chunks that are kept for readers who are at the same place. */
const chunksKept = 64

export function createRing(size: RingSize): Ring {
  /** From `head` on; what is before it was dropped. */
  let frames: Frame[] = []
  let head = 0
  let bytes = 0
  let begin = 0
  let end = 0
  const chunks = new Map<string, Chunk>()

  function trim(): void {
    while (frames.length - head > size.frames || bytes > size.bytes) {
      const dropped = frames[head] as Frame
      head++
      bytes -= weight(dropped)
      begin = dropped.seq
    }
    if (head > size.frames) {
      frames = frames.slice(head)
      head = 0
    }
  }

  /** Where the first frame after this number is. */
  function indexAfter(seq: number): number {
    let low = head
    let high = frames.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((frames[middle] as Frame).seq > seq) high = middle
      else low = middle + 1
    }
    return low
  }

  function chunkAt(index: number, view: View): Chunk | null {
    const parts: Buffer[] = []
    let length = 0
    for (let i = index; i < frames.length; i++) {
      const part = (frames[i] as Frame).bytes[view]
      if (parts.length > 0 && length + part.length > chunkMost) break
      parts.push(part)
      length += part.length
    }
    const last = frames[index + parts.length - 1]
    return last
      ? { seq: last.seq, bytes: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts) }
      : null
  }

  return {
    reset(seq) {
      frames = []
      head = 0
      bytes = 0
      begin = seq
      end = seq
      chunks.clear()
    },
    append(frame) {
      frames.push(frame)
      bytes += weight(frame)
      end = frame.seq
      chunks.clear()
      trim()
    },
    advance(seq) {
      end = Math.max(end, seq)
    },
    end: () => end,
    holds: seq => seq >= begin,
    after(seq, view) {
      if (seq < begin || seq >= end) return null
      const key = `${view}${seq}`
      const known = chunks.get(key)
      if (known) return known
      const chunk = chunkAt(indexAfter(seq), view)
      if (chunk && chunks.size < chunksKept) chunks.set(key, chunk)
      return chunk
    },
  }
}

function weight({ bytes: { anonymous, authenticated } }: Frame): number {
  return anonymous === authenticated ? anonymous.length : anonymous.length + authenticated.length
}
