import { type JWTVerifyResult, jwtVerify } from 'jose'
import { type Auth, type CertificateAuth, createAuth, createCertificateAuth } from './auth.ts'
import { createAuthorities } from './authorities.ts'
import { mustBeBoundTo } from './binding.ts'
import { createCertificates } from './certificates.ts'
import { type Grounds, isOfCertificate, readGrounds, type TokenClaims } from './claims.ts'
import type { CertificateSource, ClientCertificate } from './client-certificate.ts'
import { type Clocks, systemClocks } from './clocks.ts'
import { createCrls } from './crls.ts'
import { createDeadRecord } from './dead.ts'
import { followFeed } from './feed.ts'
import { createFreshness } from './freshness.ts'
import { isUnknownKey, refusalOf } from './jose-refusal.ts'
import { createKeySet } from './key-set.ts'
import { createLiveSignals } from './live-signals.ts'
import { settle, type VerifierOptions } from './options.ts'
import { createFeedRecord } from './record.ts'
import { VerifierRefusal } from './refusal.ts'
import { holds, requiredScopes } from './scope.ts'
import { createStatusLists } from './status-lists.ts'
import type { CertificateUsage } from './task-certificate.ts'

/** Checks access tokens and certificates of one broker, here and now, and knows within milliseconds which of them are dead. */
export interface Verifier {
  /**
   * Verifies an access token (RFC 9068 §4) and that it is alive (its task, the tasks above it, itself, its key).
   *
   * @param options.scope scopes separated by spaces, of which the token must have each
   * @param options.certificate the client certificate of the TLS connection that the token came over, or where it is to be had: asked for
   *   where the token is bound to one (RFC 8705). Without it a bound token is refused
   * @throws VerifierRefusal for whatever is not a clear yes
   * @throws TypeError when `scope` is not a list of scopes
   */
  verify(
    token: string,
    options?: { scope?: string | undefined; certificate?: CertificateSource },
  ): Promise<Auth>
  /**
   * Verifies the certificate of a task, and that it is alive. That whoever presents it has its private key is for TLS to prove: it must come from
   * a connection, or from a proxy that is trusted to have had one.
   *
   * @param options.scope scopes separated by spaces, of which the certificate must have each
   * @param options.usage `clientAuth` unless given; a client that checks a server asks for `serverAuth`
   * @throws VerifierRefusal for whatever is not a clear yes
   * @throws TypeError when `scope` is not a list of scopes
   */
  verifyCertificate(
    certificate: ClientCertificate,
    options?: { scope?: string | undefined; usage?: CertificateUsage },
  ): Promise<CertificateAuth>
  /** What is known of revocations. */
  state(): VerifierState
  /** Ends the connection, the timers and every signal; from now on everything is refused. */
  close(): void
}

/** What a verifier knows. */
export interface VerifierState {
  /** Whether revocations are known, and checked in memory; if not, status lists are asked. */
  fresh: boolean
  /** The last number of the revocation record that was applied; null before the first snapshot. */
  seq: number | null
  /** The database's time when the record was last known to be complete up to there. */
  readAt: Date | null
  /** How many dead tasks, credentials and keys are remembered. */
  dead: number
  /** How many signals are watched. */
  signals: number
}

/** Milliseconds that the start waits for the feed. */
const startWithin = 5000
/** Milliseconds between two looks at what time alone changes. */
const lookEvery = 1000
/** Milliseconds after which keys are loaded again, without anybody waiting; and the least between two loads for keys that nobody knows. */
const keysEvery = 300_000
const keysForMiss = 10_000

/**
 * Starts to follow the broker's revocations, and resolves once they are known: or after 5 s, so that a broker that is away keeps no service
 * from starting. Until they are known, tokens are looked up in their status lists, and refused where that cannot be had.
 *
 * The verifier keeps a connection open, and with it the process, until it is closed.
 *
 * @throws TypeError when an option is wrong
 */
export const createVerifier = (options: VerifierOptions): Promise<Verifier> =>
  assembleVerifier(options, systemClocks)

/** The same, by other clocks. */
export async function assembleVerifier(options: VerifierOptions, clocks: Clocks): Promise<Verifier> {
  const settled = settle(options)
  const { issuer, base, audience, algorithms, maxStaleness, clockTolerance, fetch, onEvent } = settled
  const closing = new AbortController()
  const { signal } = closing

  const freshness = createFreshness({ clocks, maxStaleness })
  const dead = createDeadRecord()
  const keys = createKeySet({
    url: `${base}/.well-known/jwks.json`,
    fetch,
    signal,
    elapsed: freshness.elapsed,
  })
  const lists = createStatusLists({
    issuer,
    base: `${base}/status-lists/`,
    algorithms,
    maxStaleness,
    clockTolerance,
    keys,
    fetch,
    signal,
    freshness,
    isWithdrawn: dead.isWithdrawn,
  })
  const authorities = createAuthorities({
    url: `${base}/pki/ca.pem`,
    fetch,
    signal,
    elapsed: freshness.elapsed,
  })
  const crls = createCrls({
    base: `${base}/pki/crl/`,
    maxStaleness,
    clockTolerance,
    authorities,
    fetch,
    signal,
    freshness,
  })
  const verifiedCertificate = createCertificates({
    audience,
    clockTolerance,
    authorities,
    now: freshness.now,
  })
  const signals = createLiveSignals({
    refusalOf: endOf,
    isFresh: freshness.isFresh,
    vouch,
  })
  const record = createFeedRecord({
    dead,
    freshness,
    changes: {
      ...signals,
      key(kid) {
        signals.key(kid)
        refreshKeys(0)
        authorities.refresh(0)
      },
    },
  })

  /** RFC 9068 §4. */
  const rules = { typ: 'at+jwt', issuer, audience, algorithms, clockTolerance, requiredClaims }

  async function verify(
    token: string,
    { scope, certificate }: { scope?: string | undefined; certificate?: CertificateSource } = {},
  ): Promise<Auth> {
    const required = requiredScopes(scope)
    if (signal.aborted) throw new VerifierRefusal('verifier_closed')
    if (typeof token !== 'string') throw new VerifierRefusal('token_malformed')
    // 1. Signature and claims; and is it whose it is bound to?
    let verified: JWTVerifyResult
    try {
      verified = await jwtVerify(token, keys.resolve, rules)
    } catch (error) {
      verified = await withNewKeys(token, error)
    }
    const grounds = readGrounds(verified.protectedHeader, verified.payload)
    const { cnf } = verified.payload
    if (cnf !== undefined) await mustBeBoundTo(cnf, certificate)
    // 2. Is it dead, as far as is known?
    refuseTheDead(grounds)
    // 3. Is enough known? If not, the status list must say so; meanwhile anything may have happened.
    if (!freshness.isFresh()) {
      await mustBeVouchedFor(grounds)
      refuseTheDead(grounds)
    }
    // 4. May it do this?
    const claims = verified.payload as TokenClaims
    if (!holds(claims.scope, required)) throw new VerifierRefusal('scope_insufficient', { scope })
    return createAuth(claims, grounds, signals)
  }

  /** The same four steps. */
  async function verifyCertificate(
    presented: ClientCertificate,
    { scope, usage = 'clientAuth' }: { scope?: string | undefined; usage?: CertificateUsage } = {},
  ): Promise<CertificateAuth> {
    const required = requiredScopes(scope)
    if (signal.aborted) throw new VerifierRefusal('verifier_closed')
    const { der, certificate, grounds } = await verifiedCertificate(presented, usage)
    refuseTheDead(grounds)
    if (!freshness.isFresh()) {
      await mustBeVouchedFor(grounds)
      refuseTheDead(grounds)
    }
    if (!holds(certificate.scopes.join(' '), required))
      throw new VerifierRefusal('scope_insufficient', { scope })
    return createCertificateAuth(der, certificate, grounds, signals)
  }

  /** The broker may have changed its keys since they were loaded. */
  async function withNewKeys(token: string, error: unknown): Promise<JWTVerifyResult> {
    if (!isUnknownKey(error)) throw refusalOf(error)
    await keys.anew(keysForMiss).catch(() => {})
    return jwtVerify(token, keys.resolve, rules).catch(again => {
      throw refusalOf(again)
    })
  }

  function refuseTheDead(grounds: Grounds): void {
    const refusal = endOf(grounds)
    if (refusal !== null) throw refusal
  }

  /** Contract §6. jose would take the token for `clockTolerance` longer, and by a clock that may have been set back. */
  function endOf(grounds: Grounds): VerifierRefusal | null {
    if (signal.aborted) return new VerifierRefusal('verifier_closed')
    if (freshness.now() >= grounds.exp * 1000)
      return new VerifierRefusal(isOfCertificate(grounds) ? 'certificate_expired' : 'token_expired')
    const cause = dead.causeOf(grounds)
    return cause === null ? null : new VerifierRefusal(cause)
  }

  async function mustBeVouchedFor(grounds: Grounds): Promise<void> {
    try {
      await vouch(grounds)
    } catch (refusal) {
      // The feed may have come back meanwhile.
      if (!freshness.isFresh()) throw refusal
    }
  }

  function vouch(grounds: Grounds): Promise<void> {
    return isOfCertificate(grounds) ? crls.vouch(grounds) : lists.vouch(grounds)
  }

  const refreshKeys = (age: number) => void keys.noOlderThan(age).catch(() => {})

  let wasFresh = false
  function tellFreshness(): void {
    const isFresh = freshness.isFresh()
    if (isFresh !== wasFresh) onEvent({ type: isFresh ? 'fresh' : 'stale' })
    wasFresh = isFresh
  }

  function close(): void {
    if (signal.aborted) return
    clearInterval(looking)
    settled.signal?.removeEventListener('abort', close)
    closing.abort()
    signals.close()
  }

  let knowing = () => {}
  const known = new Promise<void>(resolve => {
    knowing = resolve
  })
  const feed = followFeed({
    url: `${base}/v1/revocations`,
    fetch,
    token: settled.token,
    record,
    freshness,
    maxStaleness,
    onConnected: () => onEvent({ type: 'connected' }),
    onDisconnected(reason) {
      onEvent({ type: 'disconnected', reason })
      tellFreshness()
    },
    onHeard() {
      tellFreshness()
      if (freshness.isFresh()) knowing()
    },
    signal,
  })
  const looking = setInterval(() => {
    feed.look()
    tellFreshness()
    void signals.look()
    refreshKeys(keysEvery)
    authorities.refresh(keysEvery)
  }, lookEvery)
  settled.signal?.addEventListener('abort', close)
  if (settled.signal?.aborted) close()

  refreshKeys(0)
  await within(startWithin, known, signal)
  return {
    verify,
    verifyCertificate,
    close,
    state: () => ({
      fresh: !signal.aborted && freshness.isFresh(),
      seq: record.seq(),
      readAt: dateOf(record.at()),
      dead: dead.size(),
      signals: signals.size(),
    }),
  }
}

const requiredClaims = ['exp', 'iat', 'jti', 'sub', 'client_id', 'task_id', 'task_ver']

const dateOf = (milliseconds: number | null): Date | null =>
  milliseconds === null ? null : new Date(milliseconds)

/** Waits for it, but no longer than that, nor for what was given up. */
function within(milliseconds: number, wanted: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, milliseconds)
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
    wanted.then(end)
  })
}
