import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type JWK, Provider } from 'oidc-provider'

// What a TypeScript team would take instead: oidc-provider with its own in-memory adapter, JWT access tokens of the same form
// (RFC 9068, ES256, five minutes) for one resource. Clients come in the environment.

// It warns of its in-memory adapter, which is what is wanted here.
console.warn = () => {}

const {
  PEER_CLIENT_SECRET: secret = '',
  PEER_CLIENT_JWK: jwk = '',
  PEER_AUDIENCE: audience = '',
} = process.env
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const scope = 'deploy:prod'
const client = {
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope,
  id_token_signed_response_alg: 'ES256' as const,
}

const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider = new Provider(url, {
    clients: [
      {
        ...client,
        client_id: 'with-secret',
        client_secret: secret,
        token_endpoint_auth_method: 'client_secret_post',
      },
      {
        ...client,
        client_id: 'with-key',
        jwks: { keys: [JSON.parse(jwk) as JWK] },
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'RS256',
      },
    ],
    clientAuthMethods: ['client_secret_post', 'private_key_jwt'],
    scopes: [scope],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope,
          audience,
          accessTokenTTL: 300,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  })
  server.on('request', provider.callback())
  process.stdout.write(`${JSON.stringify({ url })}\n`)
})

process.on('SIGTERM', () => {
  server.close()
  server.closeAllConnections()
})
