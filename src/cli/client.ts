import { CommandError, type Io } from './io.ts'
import { cell, type Row } from './output.ts'

/** The broker's API. Answers are read as far as they are shown; what is not as promised ends the command. */
export interface Client {
  page(
    path: string,
    query?: Record<string, string | undefined>,
  ): Promise<{ items: Row[]; next: string | null }>
  read(path: string): Promise<Row>
  /** `patience` in milliseconds, for what may take longer than usual. */
  post(path: string, body?: Row, options?: { patience?: number }): Promise<Row>
  postForPage(path: string, body?: Row): Promise<{ items: Row[]; next: string | null }>
  remove(path: string): Promise<void>
}

/** Milliseconds. */
const usualPatience = 30_000

export const createClient = ({
  url,
  token,
  fetch,
}: {
  url: string
  token: string
  fetch: Io['fetch']
}): Client => {
  const call = async (
    method: string,
    path: string,
    body?: Row,
    { patience = usualPatience }: { patience?: number } = {},
  ): Promise<Row> => {
    const response = await fetch(url.replace(/\/+$/, '') + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      // The token is for this broker, not for wherever it may point.
      redirect: 'error',
      signal: AbortSignal.timeout(patience),
    }).catch((cause: unknown) => {
      throw new CommandError(`The broker at ${url} cannot be reached (${reason(cause)})`)
    })
    if (response.status === 204) return {}
    const answer: unknown = await response.json().catch(() => null)
    if (!isRow(answer)) throw new CommandError(`The broker answered ${response.status} without a JSON object`)
    if (!response.ok) throw refusal(response.status, answer)
    return answer
  }

  const page = (answer: Row) => {
    const { items, next } = answer
    if (!Array.isArray(items) || !items.every(isRow))
      throw new CommandError('The broker answered without a list')
    return { items, next: typeof next === 'string' ? next : null }
  }

  return {
    page: async (path, query = {}) => {
      const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
      return page(await call('GET', given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`))
    },
    read: path => call('GET', path),
    post: (path, body = {}, options) => call('POST', path, body, options),
    postForPage: async (path, body) => page(await call('POST', path, body)),
    remove: async path => {
      await call('DELETE', path)
    },
  }
}

const isRow = (value: unknown): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A problem document (RFC 9457) in one line. */
const refusal = (status: number, problem: Row): CommandError => {
  const places = Array.isArray(problem.errors)
    ? problem.errors.filter(isRow).map(({ path, message }) => ` ${cell(path)} ${cell(message)};`)
    : []
  const named = ['code', 'request_id', 'decision_id']
    .filter(name => problem[name] !== undefined)
    .map(name => `${name} ${cell(problem[name])}`)
  return new CommandError(
    `${cell(problem.detail ?? problem.title ?? 'Refused')}${places.join('')} (${[`status ${status}`, ...named].join(', ')})`,
  )
}

const reason = (error: unknown): string => {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.name
  return 'unknown'
}
