import { setTimeout as pause } from 'node:timers/promises'
import { at, textAt } from '../../json-path.ts'
import { endingOf } from '../../kubernetes-end.ts'
import { isJsonObject, type JsonObject, type JsonValue } from '../../strict-json.ts'
import type { Io } from '../io.ts'
import { ApiError, isGone, type KubernetesApi } from './api.ts'
import type { Backoff, Forward } from './forward.ts'
import { trimmed } from './trimmed.ts'

/** What is listed and watched. */
export interface Resource {
  /** `/api/v1/pods`, or within a namespace. */
  path: string
  apiVersion: string
  kind: string
}

export interface WatchDeps {
  api: KubernetesApi
  forward: Forward
  /** Label selector; null: all. */
  selector: string | null
  backoff: Backoff
  out: Io['out']
  err: Io['err']
  signal: AbortSignal
}

/** Seconds after which the server ends a watch, to be begun again. */
const watchFor = 300
/** Objects of one page of a list. */
const pageSize = 500

/**
 * Lists the objects and then watches them ("Efficient detection of changes"), for ever: tells of each one that is over, once, and of each
 * one that was deleted before it was. What is deleted while nobody watches is noticed by the next list, as far as it was known. Reads
 * no further while the broker cannot be told.
 */
export async function watchResource(deps: WatchDeps, resource: Resource): Promise<void> {
  const { backoff, err, signal } = deps
  const seen = memory(deps)
  let version: string | null = null
  let wait = backoff.least
  while (!signal.aborted) {
    try {
      version ??= await list(deps, resource, seen)
      for await (const reached of follow(deps, resource, seen, version)) {
        version = reached
        wait = backoff.least
      }
      // The server ends each watch after a while; one that ends them at once must not be asked without a pause.
      await pause(backoff.least, undefined, { signal })
    } catch (error) {
      if (signal.aborted) return
      // What is too old to go on from is listed anew.
      if (isGone(error)) version = null
      else err(`${resource.kind}s cannot be watched, and will be again: ${why(error)}`)
      await pause(wait, undefined, { signal }).catch(() => {})
      wait = Math.min(wait * 2, backoff.most)
    }
  }
}

/** What is there, and has not been told yet. */
interface Memory {
  there(object: JsonObject): Promise<void>
  gone(object: JsonObject): Promise<void>
  /** Whatever is remembered and is not among these is gone. */
  only(uids: Set<string>): Promise<void>
}

function memory({ forward, out }: WatchDeps): Memory {
  // Those whose end was told are remembered without their object.
  const known = new Map<string, JsonObject | null>()

  async function tell(type: 'MODIFIED' | 'DELETED', object: JsonObject): Promise<void> {
    await forward([{ type, object }])
    const how = endingOf(object) ?? 'deleted'
    out(
      `${textAt(object, 'kind')} ${textAt(object, 'metadata.namespace')}/${textAt(object, 'metadata.name')}: ${how}`,
    )
  }

  return {
    async there(object) {
      const uid = textAt(object, 'metadata.uid') ?? ''
      if (known.get(uid) === null) return
      const isOver = endingOf(object) !== null
      if (isOver) await tell('MODIFIED', trimmed(object))
      known.set(uid, isOver ? null : trimmed(object))
    },
    async gone(object) {
      const uid = textAt(object, 'metadata.uid') ?? ''
      if (known.get(uid) !== null) await tell('DELETED', trimmed(object))
      known.delete(uid)
    },
    async only(uids) {
      for (const [uid, object] of [...known]) {
        if (uids.has(uid)) continue
        if (object) await tell('DELETED', object)
        known.delete(uid)
      }
    },
  }
}

/** Answers the version of the list, from which on to watch. */
async function list({ api, selector }: WatchDeps, resource: Resource, seen: Memory): Promise<string> {
  const uids = new Set<string>()
  for (let next: string | null = ''; ; ) {
    const page: JsonValue = await api.get(resource.path, {
      limit: String(pageSize),
      ...(next !== '' && { continue: next }),
      ...(selector !== null && { labelSelector: selector }),
    })
    const items = at(page, 'items')
    for (const item of Array.isArray(items) ? items : []) {
      if (!isJsonObject(item)) continue
      uids.add(textAt(item, 'metadata.uid') ?? '')
      // Of what is in a list, only the list says what it is.
      await seen.there({ ...item, apiVersion: resource.apiVersion, kind: resource.kind })
    }
    next = textAt(page, 'metadata.continue')
    if (next !== null) continue
    await seen.only(uids)
    const version = textAt(page, 'metadata.resourceVersion')
    if (version === null) throw new Error('the API server’s list has no version')
    return version
  }
}

/** Yields each version that was reached: all up to it has been told. */
async function* follow(
  { api, selector }: WatchDeps,
  resource: Resource,
  seen: Memory,
  resourceVersion: string,
): AsyncGenerator<string> {
  const events = api.watch(resource.path, {
    resourceVersion,
    allowWatchBookmarks: 'true',
    timeoutSeconds: String(watchFor),
    ...(selector !== null && { labelSelector: selector }),
  })
  for await (const event of events) {
    const type = textAt(event, 'type')
    const object = at(event, 'object')
    if (type === 'ERROR') throw new ApiError(Number(textAt(object, 'code') ?? 500))
    if (!isJsonObject(object)) continue
    if (type === 'ADDED' || type === 'MODIFIED') await seen.there(object)
    else if (type === 'DELETED') await seen.gone(object)
    const version = textAt(object, 'metadata.resourceVersion')
    if (version !== null) yield version
  }
}

const why = (error: unknown): string => {
  if (error instanceof ApiError) return error.message
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : error instanceof Error ? error.message : 'unknown'
}
