import { readContract } from '../../src/http/contract/document.ts'
import { contractChecker } from './client-checker.ts'

export interface RequestOptions {
  headers?: Record<string, string>
  /** Sent as it is; its media type goes into `headers`. */
  body?: string | Uint8Array<ArrayBuffer>
  /** Sent as application/x-www-form-urlencoded; a list repeats the parameter. */
  form?: URLSearchParams | Record<string, string | string[]>
  /** Sent as JSON, of the media type that the contract gives the operation unless `headers` say otherwise. */
  json?: unknown
  /** Goes into `Authorization: Bearer`. */
  token?: string
}

export interface Reply<Body> {
  status: number
  headers: Headers
  /** Parsed, where it is JSON; otherwise the text, or undefined where there is none. */
  body: Body
  text: string
}

export interface Client {
  /** The body's type is the test's word for it; that it fits the contract was checked. */
  request: <Body = Record<string, unknown>>(
    method: string,
    path: string,
    options?: RequestOptions,
  ) => Promise<Reply<Body>>
}

const document = readContract()
const checker = contractChecker(document)

/**
 * The tests' HTTP client. Every answer is held against openapi.yaml: a status, header, media type or body that is not
 * documented there rejects, so that each test is one of the contract as well.
 */
export const createClient = ({
  baseUrl,
  fetch = globalThis.fetch,
}: {
  baseUrl: string
  /** In place of the platform's. */
  fetch?: (url: URL, init: RequestInit & { headers: Headers }) => Promise<Response>
}): Client => ({
  request: async <Body>(method: string, path: string, options: RequestOptions = {}) => {
    const url = new URL(baseUrl.replace(/\/$/, '') + path)
    // As it is sent: URL has resolved dots, and encoded what must be.
    const sent = url.pathname.slice(new URL(baseUrl).pathname.replace(/\/$/, '').length)
    const { headers, body } = prepare(options, checker.find(method, sent)?.body?.mediaType)
    const response = await fetch(url, {
      method,
      headers,
      redirect: 'manual',
      ...(body === undefined ? {} : { body }),
    })
    // A stream has no end: of its answer the head is checked, and what it says is read by feed-reader.ts.
    const isStream = response.headers.get('Content-Type') === 'text/event-stream'
    const text = isStream ? '' : await response.text()
    if (isStream) await response.body?.cancel()
    checker.check({ method, path: sent, status: response.status, headers: response.headers, text })
    return {
      status: response.status,
      headers: response.headers,
      body: parsed<Body>(response.headers, text),
      text,
    }
  },
})

const prepare = (options: RequestOptions, mediaType = 'application/json') => {
  const headers = new Headers(options.headers)
  if (options.token !== undefined) headers.set('Authorization', `Bearer ${options.token}`)
  if (options.json === undefined) return { headers, body: formOf(options) ?? options.body }
  if (!headers.has('Content-Type')) headers.set('Content-Type', mediaType)
  return { headers, body: JSON.stringify(options.json) }
}

const formOf = ({ form }: RequestOptions): URLSearchParams | undefined => {
  if (form === undefined || form instanceof URLSearchParams) return form
  return new URLSearchParams(
    Object.entries(form).flatMap(([name, value]) =>
      [value].flat().map(one => [name, one] as [string, string]),
    ),
  )
}

const parsed = <Body>(headers: Headers, text: string): Body => {
  if (text === '') return undefined as Body
  const isJson = /^application\/([\w.-]+\+)?json\b/.test(headers.get('Content-Type') ?? '')
  return (isJson ? JSON.parse(text) : text) as Body
}
