/** What the load generator is told, and what it answers. */
export interface Plan {
  origin: string
  callers: number
  requests: Request[]
  /** Each request once, until none is left; or all of them over and over, for so many milliseconds. */
  stop: 'once' | { after: number }
}

export interface Request {
  path: string
  headers: Record<string, string>
  body: string
}

export interface Outcome {
  answered: number
  seconds: number
  /** Milliseconds from the request to the last byte of its answer. */
  p50: number
  p99: number
  /** CPU seconds of the load generator itself. */
  cpu: number
}
