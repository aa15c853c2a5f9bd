import type { HookState } from '../../config.ts'
import type { Delivery } from './delivery.ts'
import { word } from './delivery.ts'
import { type JsonValue, textAt } from './payload.ts'

/** Any system that tells the state of something: where the state is, and which states are an end, is configured. */
export function readGeneric(payload: JsonValue, { path, completed, failed, cancelled }: HookState): Delivery {
  const state = textAt(payload, path)
  const is = (states: string[]): boolean => state !== null && states.includes(state)
  const ending = is(completed) ? 'completed' : is(failed) ? 'failed' : is(cancelled) ? 'cancelled' : null
  return {
    event: word(state ?? '') ?? '',
    id: null,
    ends: ending === null ? [] : [{ what: 'ticket', ending, facts: {}, own: null, holds: null, payload }],
  }
}
