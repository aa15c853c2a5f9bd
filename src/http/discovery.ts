import type { Router } from 'express'
import type { Config } from '../config.ts'
import type { HttpDeps } from './deps.ts'
import { grantTypes } from './oauth/grants.ts'
import { open } from './operation.ts'

/** Algorithms that assertions may be signed with: those of attestations. */
const assertionAlgs = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
]

/** Seconds that verifiers may keep the keys; `KeyTimes.cache` is the same. */
export interface Caching {
  jwksMaxAge: number
}

/** What clients and verifiers learn the broker from (RFC 8414, OpenID Connect Discovery 1.0, RFC 7517). */
export function discoveryRoutes(deps: HttpDeps, router: Router, { jwksMaxAge }: Caching): void {
  const { issuer, credentials } = deps
  const caching = { 'Cache-Control': `public, max-age=${jwksMaxAge}` }
  const at = endpoints(issuer)
  const path = new URL(issuer).pathname.replace(/\/$/, '')

  const metadata = open(() => ({ headers: caching, body: serverMetadata(issuer, at, deps.mtlsPort) }))
  const openid = open(() => ({ headers: caching, body: openidConfiguration(issuer, at, credentials) }))
  router.get('/.well-known/oauth-authorization-server', metadata)
  router.get('/.well-known/openid-configuration', openid)
  if (path !== '') {
    // RFC 8414 §3.1: before the path; OpenID Connect Discovery 1.0 §4: after it.
    router.get(`/.well-known/oauth-authorization-server${literal(path)}`, metadata)
    router.get(`${literal(path)}/.well-known/openid-configuration`, openid)
  }
  router.get(
    '/.well-known/jwks.json',
    // A replica that cannot read the keys may not know the next ones: what it says is not to be kept.
    open(() => ({
      headers: deps.keyring.isCurrent() ? caching : { 'Cache-Control': 'public, max-age=0' },
      body: { keys: deps.keyring.jwks() },
    })),
  )
}

/** A path as itself in a route's pattern. */
export const literal = (path: string): string => path.replace(/[{}()[\]+?!:*\\]/g, '\\$&')

function endpoints(issuer: string): Record<'token' | 'introspect' | 'revoke' | 'jwks', string> {
  const base = issuer.replace(/\/$/, '')
  return {
    token: `${base}/oauth2/token`,
    introspect: `${base}/oauth2/introspect`,
    revoke: `${base}/oauth2/revoke`,
    jwks: `${base}/.well-known/jwks.json`,
  }
}

const serverMetadata = (
  issuer: string,
  at: ReturnType<typeof endpoints>,
  mtlsPort: number | null,
): Record<string, unknown> => ({
  issuer,
  token_endpoint: at.token,
  jwks_uri: at.jwks,
  introspection_endpoint: at.introspect,
  revocation_endpoint: at.revoke,
  response_types_supported: [],
  grant_types_supported: grantTypes,
  token_endpoint_auth_methods_supported: [
    'private_key_jwt',
    'none',
    ...(mtlsPort === null ? [] : ['tls_client_auth']),
  ],
  token_endpoint_auth_signing_alg_values_supported: assertionAlgs,
  ...(mtlsPort !== null && mtlsMetadata(issuer, mtlsPort)),
})

/** What a client does differently that comes with a certificate (RFC 8705 §3.3, §5). */
function mtlsMetadata(issuer: string, port: number): Record<string, unknown> {
  const { hostname, pathname } = new URL(issuer)
  const at = endpoints(new URL(`https://${hostname}:${port}${pathname}`).href)
  return {
    tls_client_certificate_bound_access_tokens: true,
    mtls_endpoint_aliases: {
      token_endpoint: at.token,
      introspection_endpoint: at.introspect,
      revocation_endpoint: at.revoke,
    },
  }
}

const openidConfiguration = (
  issuer: string,
  at: ReturnType<typeof endpoints>,
  { signingAlg, signingAlgFor }: Config['credentials'],
): Record<string, unknown> => ({
  issuer,
  jwks_uri: at.jwks,
  token_endpoint: at.token,
  response_types_supported: ['id_token'],
  grant_types_supported: grantTypes,
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: [...new Set([signingAlg, ...Object.values(signingAlgFor)])],
  claims_supported: [
    'iss',
    'sub',
    'aud',
    'iat',
    'exp',
    'jti',
    'client_id',
    'scope',
    'task_id',
    'task_ver',
    'task_path',
    'status',
  ],
})
