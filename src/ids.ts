import { randomUUIDv7 } from 'node:crypto'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** A UUIDv7 (RFC 9562 §5.7): ordered by time, so that indexes grow at one end. */
export const newId = (): string => randomUUIDv7()

/** Whether the text is a UUID as this broker writes them: lower case, with hyphens. */
export const isId = (text: string): boolean => uuid.test(text)

/** The smallest UUIDv7 of a moment, in milliseconds since the epoch: what was made before it sorts before it. */
export function firstIdAt(moment: number): string {
  const hex = Math.max(0, Math.floor(moment)).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`
}
