import type { RequestHandler } from 'express'
import type { Metrics } from '../observe/metrics.ts'

/** Measures each request by its route's pattern, never by its path: what a caller can choose is no label. */
export function measure({ requests }: Metrics): RequestHandler {
  return (request, response, next) => {
    const start = performance.now()
    response.once('finish', () => {
      const route: unknown = request.route?.path
      const operation = typeof route === 'string' ? `${request.method} ${route}` : 'none'
      requests.observe({ operation, status: String(response.statusCode) }, (performance.now() - start) / 1000)
    })
    next()
  }
}
