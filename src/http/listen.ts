import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Express } from 'express'
import type { Config } from '../config.ts'
import type { Metrics } from '../observe/metrics.ts'

/** Requests that come before the broker can serve get 503; connections are closed once what is under way is answered. */
export interface Door {
  port: number
  serve: (app: Express) => void
  close: () => Promise<void>
}

export const listen = (host: string, port: number): Promise<Door> => serverDoor(createServer(), host, port)

/** The same, for a server that speaks HTTP in its own way. */
export async function serverDoor(server: Server, host: string, port: number): Promise<Door> {
  let handle: RequestListener = (_request, response) => {
    response.writeHead(503, { 'Retry-After': '1' }).end()
  }
  server.on('request', (request, response) => handle(request, response))
  // Slow senders hold a connection, and nothing else, for this long.
  server.headersTimeout = 10_000
  server.requestTimeout = 30_000
  await bound(server, host, port)
  return {
    port: (server.address() as AddressInfo).port,
    serve: app => {
      handle = app
    },
    close: () => closeServer(server),
  }
}

function bound(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** How long what is under way may take, when the broker stops. Milliseconds. */
const drainMost = 10_000

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeIdleConnections()
  const cut = setTimeout(() => server.closeAllConnections(), drainMost)
  await closed
  clearTimeout(cut)
}

/** `/metrics`, on a listener of its own; null where none is configured. */
export async function listenForMetrics(
  { listen: { host, metricsPort } }: Config,
  { registry }: Metrics,
  stops: (() => Promise<unknown> | unknown)[],
): Promise<string | null> {
  if (metricsPort === null) return null
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, { 'Content-Type': registry.contentType }).end(await registry.metrics())
  })
  await bound(server, host, metricsPort)
  stops.push(() => closeServer(server))
  return `http://${urlHost(host)}:${(server.address() as AddressInfo).port}/metrics`
}

/** A host as it stands in a URL (RFC 3986 §3.2.2). */
export const urlHost = (host: string): string => (host.includes(':') ? `[${host}]` : host)
