import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: {
    name: string
    namespace: string
    uid: string
    labels?: Record<string, string>
    resourceVersion?: string
  }
  [member: string]: unknown
}

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED'

interface Change {
  version: number
  type: EventType
  object: KubernetesObject
}

/**
 * An API server as far as it lists and watches pods and jobs: versions of the whole store, lists in pages whose items do not say what
 * they are, watches that begin after a version, bookmarks, 410 for what is compacted away.
 */
export interface TestKubernetes {
  url: string
  token: string
  /** Requests seen: path and query. */
  requests: { path: string; query: URLSearchParams }[]
  put(object: KubernetesObject): void
  remove(uid: string): void
  bookmark(): void
  /** Forgets the history: whoever goes on from an older version is told 410. */
  compact(): void
  /** Ends all watches, politely or in the middle of a line. */
  hangUp(options?: { midLine?: boolean }): void
  /** Answers this status to everything; null: as it should be. */
  failWith: number | null
  /** How 410 is told: as a status, or as an event of a watch that was begun. */
  goneAs: 'status' | 'event'
  watchers(): number
  close(): Promise<void>
}

const kinds: Record<string, { apiVersion: string; kind: string }> = {
  pods: { apiVersion: 'v1', kind: 'Pod' },
  jobs: { apiVersion: 'batch/v1', kind: 'Job' },
}

export async function startKubernetes(): Promise<TestKubernetes> {
  const objects = new Map<string, KubernetesObject>()
  const watches = new Set<{
    response: ServerResponse
    sees: (object: KubernetesObject) => boolean
    kind: string
    apiVersion: string
  }>()
  let history: Change[] = []
  let version = 1000
  let oldest = 1000

  const line = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`
  const status = (code: number) => ({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    reason: 'Expired',
    code,
  })

  function changed(type: EventType, object: KubernetesObject): void {
    version++
    const stamped = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } }
    if (type === 'DELETED') objects.delete(object.metadata.uid)
    else objects.set(object.metadata.uid, stamped)
    history.push({ version, type, object: stamped })
    for (const { response, sees } of watches) if (sees(stamped)) response.write(line(type, stamped))
  }

  const server = createServer((request, response) => {
    const { pathname, searchParams: query } = new URL(request.url ?? '', 'http://x')
    self.requests.push({ path: pathname, query })
    const fail = (code: number) =>
      response.writeHead(code, { 'Content-Type': 'application/json' }).end(JSON.stringify(status(code)))
    const [, group, namespace, plural = ''] =
      /^\/(api\/v1|apis\/batch\/v1)(?:\/namespaces\/([a-z0-9-]+))?\/(pods|jobs)$/.exec(pathname) ?? []
    const of = kinds[plural]
    if (self.failWith !== null) return fail(self.failWith)
    if (request.headers.authorization !== `Bearer ${self.token}`) return fail(401)
    if (!of || (group === 'api/v1') !== (plural === 'pods')) return fail(404)
    const [label, value] = query.get('labelSelector')?.split('=') ?? []
    const sees = ({ kind, metadata }: KubernetesObject): boolean =>
      kind === of.kind &&
      (namespace === undefined || metadata.namespace === namespace) &&
      (label === undefined || metadata.labels?.[label] === value)
    if (query.get('watch') === '1') watch(response, query, sees, of, fail)
    else list(response, query, sees, of, fail)
  })

  function list(
    response: ServerResponse,
    query: URLSearchParams,
    sees: (object: KubernetesObject) => boolean,
    { apiVersion, kind }: { apiVersion: string; kind: string },
    fail: (code: number) => void,
  ): void {
    const [at = version, offset = 0] = query.get('continue')?.split('.').map(Number) ?? []
    if (at < oldest) {
      fail(410)
      return
    }
    const limit = Number(query.get('limit') ?? 500)
    const all = [...objects.values()].filter(sees)
    const items = all.slice(offset, offset + limit).map(({ apiVersion: _, kind: __, ...item }) => item)
    const more = offset + limit < all.length ? `${at}.${offset + limit}` : undefined
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(
      JSON.stringify({
        kind: `${kind}List`,
        apiVersion,
        metadata: {
          resourceVersion: String(at),
          ...(more && { continue: more, remainingItemCount: all.length - offset - limit }),
        },
        items,
      }),
    )
  }

  function watch(
    response: ServerResponse,
    query: URLSearchParams,
    sees: (object: KubernetesObject) => boolean,
    of: { apiVersion: string; kind: string },
    fail: (code: number) => void,
  ): void {
    const since = Number(query.get('resourceVersion'))
    if (since < oldest && self.goneAs === 'status') {
      fail(410)
      return
    }
    response.writeHead(200, { 'Content-Type': 'application/json' })
    if (since < oldest) {
      response.end(line('ERROR', status(410)))
      return
    }
    response.flushHeaders()
    for (const change of history)
      if (change.version > since && sees(change.object)) response.write(line(change.type, change.object))
    const entry = { response, sees, ...of }
    watches.add(entry)
    response.on('close', () => watches.delete(entry))
  }

  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const self: TestKubernetes = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: 'token-1',
    requests: [],
    failWith: null,
    goneAs: 'status',
    put: object => changed(objects.has(object.metadata.uid) ? 'MODIFIED' : 'ADDED', object),
    remove(uid) {
      const object = objects.get(uid)
      if (object) changed('DELETED', object)
    },
    bookmark() {
      for (const { response, kind, apiVersion } of watches)
        response.write(line('BOOKMARK', { kind, apiVersion, metadata: { resourceVersion: String(version) } }))
    },
    compact() {
      history = []
      oldest = ++version
    },
    hangUp({ midLine = false } = {}) {
      for (const watched of [...watches]) {
        const { response } = watched
        watches.delete(watched)
        if (midLine) response.write('{"type":"DELETED","object":{"kind":"Po')
        if (midLine) response.destroy()
        else response.end()
      }
    },
    watchers: () => watches.size,
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
  return self
}
