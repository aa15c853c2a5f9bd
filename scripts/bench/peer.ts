import { randomUUID } from 'node:crypto'
import { generateKey } from '../../test/support/issuer.ts'
import { agentMints, answer, audience, jobMints, newJobs, openAgents, signInThread } from './callers.ts'
import type { Request } from './load-plan.ts'
import { type Figure, perSecond } from './report.ts'
import { inAlternation, type Round } from './rounds.ts'
import { median, ratios } from './statistics.ts'
import type { World } from './world.ts'

/**
 * Mints a second, in turn with oidc-provider issuing by client_credentials from memory: a JWT of the same form, and nothing
 * attested, decided, logged or revocable. Its clients prove themselves by a secret, or by a fresh assertion each time.
 */
export async function againstPeer(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const broker = await world.startBroker(database)
  const secret = randomUUID()
  const key = generateKey('RS256')
  const peer = await world.startPeer({
    PEER_CLIENT_SECRET: secret,
    PEER_CLIENT_JWK: JSON.stringify(key.jwk),
    PEER_AUDIENCE: audience,
  })
  const agents = agentMints(await openAgents(world, broker.url, 64))
  const withSecret = peerRequest({ client_id: 'with-secret', client_secret: secret })
  const withAssertion = async (): Promise<Request> => {
    const now = Math.floor(Date.now() / 1000)
    const who = {
      iss: 'with-key',
      sub: 'with-key',
      aud: peer.url,
      jti: randomUUID(),
      iat: now,
      exp: now + 60,
    }
    return peerRequest({
      client_assertion: await signInThread(key, who),
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    })
  }
  await mustIssueJwt(peer.url, withSecret)
  await mustIssueJwt(peer.url, await withAssertion())

  // What is fresh is signed before each round: so many, and no more.
  const fresh = world.quick ? 500 : 3_000
  let jobs = 0
  const newOnes = (count: number) => {
    jobs += count
    return newJobs(count, jobs)
  }
  const opened = newOnes(200)
  const results = await inAlternation(
    world,
    [
      { name: 'agents', origin: broker.url, requests: () => agents },
      {
        name: 'jobs',
        origin: broker.url,
        once: true,
        requests: () =>
          jobMints(
            world,
            Array.from({ length: fresh }, (_, n) => opened[n % opened.length]!),
          ),
      },
      { name: 'newJobs', origin: broker.url, once: true, requests: () => jobMints(world, newOnes(fresh)) },
      { name: 'peer', origin: peer.url, requests: () => [withSecret] },
      {
        name: 'peerWithKey',
        origin: peer.url,
        once: true,
        requests: () => Promise.all(Array.from({ length: fresh }, withAssertion)),
      },
    ],
    { rounds: 5, after: 1_500 },
  )
  await Promise.all([broker.stop(), peer.stop()])
  await database.drop()

  const rates = (rounds: Round[]) => rounds.map(round => round.rate)
  const against = (what: string, ours: Round[], theirs: Round[], target?: { least: number }): Figure => ({
    what,
    measured: `${perSecond(median(rates(ours)))}, oidc-provider ${perSecond(median(rates(theirs)))}`,
    ratio: ratios(rates(ours), rates(theirs)),
    ...(target && { target }),
  })
  const { peer: bySecret, peerWithKey: byKey } = results
  const cached = 'Mints, durable, attested and decided, against oidc-provider'
  return [
    against(`${cached} with a client secret: agents, one SVID for minutes`, results.agents, bySecret, {
      least: 1,
    }),
    against(`${cached} with a client secret: CI jobs, a fresh ID token each`, results.jobs, bySecret, {
      least: 1,
    }),
    against(`${cached} with a client secret: CI jobs, task opened in the call`, results.newJobs, bySecret, {
      least: 1,
    }),
    against(`${cached} with private_key_jwt, as fresh: CI jobs, a fresh ID token each`, results.jobs, byKey),
    against(
      `${cached} with private_key_jwt, as fresh: CI jobs, task opened in the call`,
      results.newJobs,
      byKey,
    ),
  ]
}

const peerRequest = (client: Record<string, string>): Request => ({
  path: '/token',
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams({
    grant_type: 'client_credentials',
    scope: 'deploy:prod',
    resource: audience,
    ...client,
  }).toString(),
})

async function mustIssueJwt(url: string, request: Request): Promise<void> {
  const { access_token } = await answer(url + request.path, request)
  const header = JSON.parse(Buffer.from(String(access_token).split('.')[0] ?? '', 'base64url').toString())
  if (header.alg !== 'ES256' || header.typ !== 'at+jwt')
    throw new Error('oidc-provider issues something else')
}
