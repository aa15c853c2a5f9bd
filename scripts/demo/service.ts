import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type RequestHandler } from 'express'
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose'

/** Why a request was turned away, in the words of RFC 6750 §3.1. */
type Refusal = 'invalid_token' | 'insufficient_scope'

/**
 * A service that accepts Hallpass tokens, as small as one can be: signature and claims are checked here against the broker's
 * published keys, and whether the token is still live is asked of the broker, with the service's own attestation.
 */
export async function startService(options: {
  broker: string
  audience: string
  /** An attestation of the service itself. */
  attest: () => string
  stops: (() => Promise<void>)[]
}): Promise<string> {
  const { broker, audience, attest, stops } = options
  const keys = createRemoteJWKSet(new URL(`${broker}/.well-known/jwks.json`))

  const needs =
    (scope: string): RequestHandler =>
    async (request, response, next) => {
      const refusal = await check(request.get('authorization')?.replace(/^Bearer /, '') ?? '', scope)
      if (refusal === null) return next()
      const status = refusal === 'insufficient_scope' ? 403 : 401
      response.status(status).set('WWW-Authenticate', `Bearer error="${refusal}"`).json({ error: refusal })
    }

  async function check(token: string, scope: string): Promise<Refusal | null> {
    const claims = await verified(token)
    if (!claims) return 'invalid_token'
    if (!String(claims.scope).split(' ').includes(scope)) return 'insufficient_scope'
    return (await isLive(token)) ? null : 'invalid_token'
  }

  async function verified(token: string): Promise<JWTPayload | null> {
    // RFC 9068 §4.
    const expected = {
      issuer: broker,
      audience,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      requiredClaims: ['exp'],
    }
    return jwtVerify(token, keys, expected).then(
      ({ payload }) => payload,
      () => null,
    )
  }

  /** RFC 7662. Whatever is not a clear yes is no. */
  async function isLive(token: string): Promise<boolean> {
    const response = await fetch(`${broker}/oauth2/introspect`, {
      method: 'POST',
      headers: { authorization: `Bearer ${attest()}` },
      body: new URLSearchParams({ token }),
    })
    const { active } = (await response.json()) as { active?: unknown }
    return response.ok && active === true
  }

  const app = express()
  app.post('/staging', needs('deploy:staging'), (_, response) => void response.json({ deployed: 'staging' }))
  app.post('/prod', needs('deploy:prod'), (_, response) => void response.json({ deployed: 'prod' }))

  const server = createServer(app)
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  stops.push(async () => {
    server.closeAllConnections()
    await new Promise(closed => server.close(closed))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
