import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type { Presented } from './court.ts'
import { host } from './service.ts'

/** A service of Node's own https, for clients with certificates. */
export interface NodeServer {
  port: number
  /** From now on: whose certificates, but those that have ended. PEM. */
  trust(of: { ca: string; crl: string[] }): void
  /** Why it let nobody in, in order. */
  refused: string[]
  close(): Promise<void>
}

export async function startNodeServer({ key, certificate, chain }: Presented): Promise<NodeServer> {
  const own = { key, cert: certificate + chain }
  const refused: string[] = []
  const server = createServer(
    { ...own, requestCert: true, rejectUnauthorized: true },
    (_request, response) => void response.end('in'),
  )
  server.on('tlsClientError', (error, socket) =>
    refused.push(String(socket.authorizationError ?? (error as NodeJS.ErrnoException).code)),
  )
  server.listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    trust: ({ ca, crl }) => server.setSecureContext({ ...own, ca, crl }),
    refused,
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

/** What Node's https gets from the service. */
export const nodeClient = (
  to: { port: number } | { socketPath: string },
  options: Pick<ConnectionOptions, 'ca' | 'crl' | 'key' | 'cert'>,
): Promise<{ status: number; text: string } | { error: string }> =>
  new Promise(resolve => {
    const failed = (error: NodeJS.ErrnoException) => resolve({ error: `${error.code} ${error.message}` })
    const asked = request(
      { host: '127.0.0.1', servername: host, headers: { host }, agent: false, ...to, ...options },
      response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', part => {
          text += part
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
        response.on('error', failed)
      },
    )
    asked.on('error', failed)
    asked.end()
  })
