import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { authOf, createVerifier, requireTask } from '../../src/verifier/index.ts'
import { selfSigned } from '../../test/support/self-signed.ts'

/**
 * A service that accepts Hallpass tokens, and over mutual TLS certificates, as small as one can be. The verifier checks each of them here,
 * without asking the broker, and follows the broker's live feed: it knows of an end within milliseconds.
 */
export async function startService(options: {
  broker: string
  audience: string
  stops: (() => Promise<void>)[]
}): Promise<{ url: string; mtlsUrl: string; certificate: string }> {
  const { broker: issuer, audience, stops } = options
  const verifier = await createVerifier({ issuer, audience })
  stops.push(async () => verifier.close())

  const app = express()
  app.post('/staging', requireTask(verifier, { scope: 'deploy:staging' }), (_, response) => {
    response.json({ deployed: 'staging' })
  })
  app.post('/prod', requireTask(verifier, { scope: 'deploy:prod' }), (_, response) => {
    response.json({ deployed: 'prod' })
  })
  // A request that lasts: it goes on until the token dies.
  app.post('/watch', requireTask(verifier, { scope: 'deploy:staging' }), (request, response) => {
    const { signal } = authOf(request)
    response.type('application/json').flushHeaders()
    const end = () => response.end(JSON.stringify({ stopped: signal.reason.code }))
    if (signal.aborted) end()
    else signal.addEventListener('abort', end)
  })

  const secured = express()
  const takesCertificates = { scope: 'deploy:staging', credentials: ['certificate' as const] }
  secured.post('/staging', requireTask(verifier, takesCertificates), (_, response) => {
    response.json({ deployed: 'staging' })
  })
  const { cert, key } = selfSigned('deploy.example')
  const tls = { cert, key, requestCert: true, rejectUnauthorized: false }

  return {
    url: `http://${await open(createServer(app), stops)}`,
    mtlsUrl: `https://${await open(createTlsServer(tls, secured), stops)}`,
    certificate: cert,
  }
}

async function open(server: Server, stops: (() => Promise<void>)[]): Promise<string> {
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  stops.push(async () => {
    server.closeAllConnections()
    await new Promise(closed => server.close(closed))
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
