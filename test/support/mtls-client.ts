import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import type { TLSSocket } from 'node:tls'
import { type Client, createClient } from './client.ts'

/** What a client shows in a handshake: PEM. */
export interface ClientCertificate {
  cert: string
  key: string
}

export interface MtlsClient extends Client {
  /** The connection that the latest answer came over. */
  socket(): TLSSocket
  close(): void
}

/**
 * The tests' HTTP client over TLS, by its own connection, which it keeps. It knows the server by `server`, its certificate, whatever that
 * says it is called.
 */
export function mtlsClient({
  baseUrl,
  server,
  client,
}: {
  baseUrl: string
  server: string
  client?: ClientCertificate | undefined
}): MtlsClient {
  const agent = new https.Agent({
    ca: server,
    checkServerIdentity: () => undefined,
    keepAlive: true,
    maxSockets: 1,
    ...client,
  })
  let socket: TLSSocket | null = null
  const fetch = (url: URL, { method = 'GET', headers, body }: RequestInit & { headers: Headers }) =>
    new Promise<Response>((resolve, reject) => {
      const given = body instanceof URLSearchParams ? body.toString() : body
      if (body instanceof URLSearchParams) headers.set('Content-Type', 'application/x-www-form-urlencoded')
      const sent = https.request(url, { agent, method, headers: Object.fromEntries(headers) })
      sent.once('error', reject)
      sent.once('response', answer => {
        socket = answer.socket as TLSSocket
        read(answer).then(resolve, reject)
      })
      sent.end(given ?? undefined)
    })
  return {
    ...createClient({ baseUrl, fetch }),
    socket() {
      if (!socket) throw new Error('nothing was answered yet')
      return socket
    },
    close: () => agent.destroy(),
  }
}

/** A stream's answer begins and does not end: of others the whole is read. */
async function read(answer: IncomingMessage): Promise<Response> {
  const headers = new Headers()
  for (const [name, value] of Object.entries(answer.headers))
    for (const one of [value].flat()) if (one !== undefined) headers.append(name, one)
  const status = answer.statusCode ?? 0
  if (answer.headers['content-type'] === 'text/event-stream') {
    answer.destroy()
    return new Response('', { status, headers })
  }
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks)
  return new Response(text.length === 0 ? null : text, { status, headers })
}
