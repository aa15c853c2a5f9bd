import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Adapter, type AdapterPayload, type Configuration, Provider } from 'oidc-provider'

export interface OpenIdProvider {
  issuer: string
  /** A genuinely issued ID token with these claims: `aud` is the audience, `iat` and `exp` (5 minutes) are the provider's. */
  idToken(claims: Record<string, unknown> & { sub: string }): Promise<string>
  close(): Promise<void>
}

const callback = 'https://ci.invalid/callback'

/**
 * A real OpenID provider on loopback, standing in for a CI or for a company's sign-in. Each token comes out of a whole
 * implicit flow (OpenID Connect Core §3.2) over HTTP, with the provider's login and consent answered by a program.
 *
 * @param options.audience the client that tokens are issued to, and so their only `aud`
 */
export async function startOpenIdProvider({ audience }: { audience: string }): Promise<OpenIdProvider> {
  let handle: (req: IncomingMessage, res: ServerResponse) => void = (_, res) => res.writeHead(503).end()
  const server = createServer((req, res) => handle(req, res))
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const storage = new Map<string, AdapterPayload>()
  const signingKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
  const known = new Set<string>()
  let current: Record<string, unknown> & { sub: string } = { sub: '' }

  /** Which claims there are is fixed when a provider is made: a new one takes over when a new claim comes up. */
  const learn = (names: string[]) => {
    const fresh = names.filter(name => !known.has(name))
    if (fresh.length === 0 && known.size > 0) return
    for (const name of fresh) known.add(name)
    const provider = new Provider(issuer, {
      ...configuration(audience, storage, [...known], () => current),
      jwks: { keys: [{ ...signingKey, kid: 'ci-1', alg: 'RS256', use: 'sig' }] },
    })
    const serve = provider.callback()
    handle = (req, res) => {
      if (!req.url?.startsWith('/interaction/')) return void serve(req, res)
      answerInteraction(provider, req, res, audience).catch(() => res.writeHead(500).end())
    }
  }

  // Discovery and keys are there before the first token.
  learn(['sub'])

  let last: Promise<unknown> = Promise.resolve()
  return {
    issuer,
    idToken(claims) {
      // One at a time: an account's claims are those of the token that is being issued.
      const token = last.then(() => {
        current = claims
        learn(Object.keys(claims))
        return runFlow(issuer, audience, claims.sub)
      })
      last = token.catch(() => {})
      return token
    },
    close: async () => {
      server.closeAllConnections()
      await new Promise(closed => server.close(closed))
    },
  }
}

function configuration(
  audience: string,
  storage: Map<string, AdapterPayload>,
  claims: string[],
  account: () => Record<string, unknown> & { sub: string },
): Configuration {
  return {
    adapter: name => mapAdapter(name, storage),
    clients: [
      {
        client_id: audience,
        redirect_uris: [callback],
        response_types: ['id_token'],
        grant_types: ['implicit'],
        token_endpoint_auth_method: 'none',
      },
    ],
    responseTypes: ['id_token'],
    claims: { openid: claims },
    cookies: { keys: [randomUUID()] },
    features: { devInteractions: { enabled: false } },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => account() }),
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    renderError: (ctx, out) => {
      ctx.body = out
    },
    ttl: { IdToken: 300, Interaction: 60, Session: 60, Grant: 60 },
  }
}

/** The user who always signs in, as whoever the client hinted at, and always consents. */
async function answerInteraction(
  provider: Provider,
  req: IncomingMessage,
  res: ServerResponse,
  audience: string,
): Promise<void> {
  const { params } = await provider.interactionDetails(req, res)
  const accountId = String(params.login_hint)
  const grant = new provider.Grant({ accountId, clientId: audience })
  grant.addOIDCScope('openid')
  const consent = { grantId: await grant.save() }
  await provider.interactionFinished(req, res, { login: { accountId, remember: false }, consent })
}

/** The browser: follows redirects and keeps cookies until it is sent back to the client with a token. */
async function runFlow(issuer: string, audience: string, sub: string): Promise<string> {
  const cookies = new Map<string, string>()
  const query = new URLSearchParams({
    client_id: audience,
    redirect_uri: callback,
    response_type: 'id_token',
    scope: 'openid',
    nonce: randomUUID(),
    login_hint: sub,
  })
  let url = `${issuer}/auth?${query}`
  for (let step = 0; step < 8; step++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } })
    const body = await response.text()
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';')
      cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1))
    }
    const location = response.headers.get('location')
    if (location === null) throw new Error(`the OpenID provider answered ${response.status}: ${body}`)
    url = new URL(location, url).href
    if (url.startsWith(callback)) {
      const answer = new URLSearchParams(new URL(url).hash.slice(1))
      const token = answer.get('id_token')
      if (token === null) throw new Error(`the OpenID provider issued nothing: ${answer}`)
      return token
    }
  }
  throw new Error('the OpenID provider redirects for ever')
}

function mapAdapter(model: string, storage: Map<string, AdapterPayload>): Adapter {
  const key = (id: string) => `${model}:${id}`
  const findBy = (match: (payload: AdapterPayload) => boolean) =>
    [...storage].find(([name, payload]) => name.startsWith(`${model}:`) && match(payload))?.[1]
  return {
    upsert: async (id, payload) => void storage.set(key(id), payload),
    find: async id => storage.get(key(id)),
    findByUid: async uid => findBy(payload => payload.uid === uid),
    findByUserCode: async userCode => findBy(payload => payload.userCode === userCode),
    consume: async () => {},
    destroy: async id => void storage.delete(key(id)),
    revokeByGrantId: async () => {},
  }
}
