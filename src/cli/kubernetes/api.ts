import { readFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { JsonValue } from '../../strict-json.ts'

/** The API of a cluster, as far as it is watched. */
export interface KubernetesApi {
  /** Throws `ApiError`, and what the connection throws. */
  get(path: string, query: Record<string, string>): Promise<JsonValue>
  /** One event of a watch after the other, until the server ends it. Throws as `get`. */
  watch(path: string, query: Record<string, string>): AsyncGenerator<JsonValue>
}

export interface ApiOptions {
  /** Without a path at its end. */
  server: string
  /** Read for each request: the kubelet replaces it. null: none, as behind `kubectl proxy`. */
  tokenFile: string | null
  /** PEM; null: the system's. */
  ca: string | null
  signal: AbortSignal
}

export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number

  constructor(status: number) {
    super(`the API server answered ${status}`)
    this.status = status
  }
}

/** What was asked for is no longer held: list again ("Resource versions", 410 Gone). */
export const isGone = (error: unknown): boolean => error instanceof ApiError && error.status === 410

/** Milliseconds without a byte after which a connection counts as lost. A watch is renewed by the server before that. */
const silenceMost = 330_000
/** Bytes of one object at the most: etcd holds none of more than 1.5 MiB, unless told to. */
const lineMost = 16 * 1024 * 1024

export function kubernetesApi({ server, tokenFile, ca, signal }: ApiOptions): KubernetesApi {
  async function open(path: string, query: Record<string, string>): Promise<IncomingMessage> {
    const url = new URL(server.replace(/\/$/, '') + path)
    url.search = new URLSearchParams(query).toString()
    const token = tokenFile === null ? null : readFileSync(tokenFile, 'utf8').trim()
    const headers = {
      Accept: 'application/json',
      ...(token !== null && { Authorization: `Bearer ${token}` }),
    }
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = { headers, signal, timeout: silenceMost, agent: false, ...(ca !== null && { ca }) }
      const request = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options)
      request.on('response', resolve)
      request.on('error', reject)
      request.on('timeout', () => request.destroy(new Error('the API server fell silent')))
      request.end()
    })
    if (response.statusCode === 200) return response
    response.destroy()
    throw new ApiError(response.statusCode ?? 0)
  }

  return {
    async get(path, query) {
      const chunks: Buffer[] = []
      for await (const chunk of await open(path, query)) chunks.push(chunk)
      return JSON.parse(Buffer.concat(chunks).toString('utf8')) as JsonValue
    },
    async *watch(path, query) {
      for await (const line of lines(await open(path, { ...query, watch: '1' })))
        yield JSON.parse(line) as JsonValue
    },
  }
}

async function* lines(response: IncomingMessage): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of response) {
    rest += decoder.decode(chunk, { stream: true })
    const whole = rest.split('\n')
    rest = whole.pop() ?? ''
    if (rest.length > lineMost) throw new Error('the API server sent an event that is too long')
    for (const line of whole) if (line !== '') yield line
  }
}
