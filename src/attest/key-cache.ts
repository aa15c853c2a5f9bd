import type { Clock } from '../clock.ts'
import { HallpassError } from '../errors.ts'
import type { VerificationKey } from './jwk-set.ts'
import { absent, refuse } from './refusal.ts'
import type { Certificate } from './x509/certificate.ts'

export interface LoadedKeys {
  keys: VerificationKey[]
  /** A SPIFFE bundle's X.509 authorities; of an OIDC issuer, none. */
  authorities: readonly Certificate[]
  /** Milliseconds after which to load them again. */
  refreshAfter: number
  /** `spiffe_sequence` of the bundle that they came from. */
  sequence?: bigint | undefined
}

/** Loads a source's keys; `held` are the ones that it would replace. Throws HallpassError only, with a safe cause. */
export type LoadKeys = (held: LoadedKeys | null) => Promise<LoadedKeys>

export interface KeyCache {
  /**
   * The keys to verify with, loaded first when there are none or they are due: the same object until they are loaded again.
   *
   * @throws what the last load threw, with `retryAfter`, when no good keys are held.
   */
  current(): Promise<LoadedKeys>
  /** The keys after an attestation needed one that is not among them: loaded again, but at most once in the cooldown. */
  afterMiss(): Promise<LoadedKeys>
}

export interface Log {
  warn(fields: object, message: string): void
}

interface Dependencies {
  /** The trust source's name, for the log. */
  trust: string
  load: LoadKeys
  clock: Clock
  log: Log | undefined
}

/** Whoever sends tokens with invented key names makes us ask their issuer no more often than this. */
const missCooldown = 30_000
/** After a failure: soon while nothing can be verified, later while the keys held still serve. */
const retryWithout = 5_000
const retryWith = 30_000
/**
 * How long keys serve past their refresh while their source is away. Long enough that an outage of an issuer is not ours;
 * short, because who can keep us from an issuer can keep a withdrawn key alive that long.
 */
const staleFor = 60 * 60_000

/** Keys of one trust source: loaded when needed, by one load at a time, kept while they are good. */
export function createKeyCache({ trust, load, clock, log }: Dependencies): KeyCache {
  let held: { loaded: LoadedKeys; at: number } | null = null
  let failure: { error: HallpassError; at: number } | null = null
  let triedAt = Number.NEGATIVE_INFINITY
  let loading: Promise<void> | null = null

  /** A clock that was set back makes everything old rather than new for ever. */
  const since = (at: number) => {
    const elapsed = clock() - at
    return elapsed < 0 ? Number.POSITIVE_INFINITY : elapsed
  }

  const isDue = () => held === null || since(held.at) >= held.loaded.refreshAfter
  const mayRetry = () => failure === null || since(failure.at) >= (held ? retryWith : retryWithout)

  const refresh = () => {
    loading ??= reload().finally(() => {
      loading = null
    })
    return loading
  }

  const reload = async () => {
    triedAt = clock()
    try {
      const loaded = await load(held?.loaded ?? null)
      held = { loaded, at: triedAt }
      failure = null
    } catch (error) {
      failure = { error: asHallpassError(error), at: clock() }
      log?.warn({ trust, reason: reasonOf(failure.error) }, 'keys of a trust source could not be loaded')
    }
  }

  const dropWhatIsTooOld = () => {
    if (held && since(held.at) >= held.loaded.refreshAfter + staleFor) held = null
  }

  const current = async () => {
    dropWhatIsTooOld()
    if (isDue() && mayRetry()) await refresh()
    if (held) return held.loaded
    throw withRetryAfter(
      failure?.error ?? absent('keys_unreachable'),
      (failure?.at ?? 0) + retryWithout - clock(),
    )
  }

  const afterMiss = async () => {
    if (since(triedAt) >= missCooldown) await refresh()
    return current()
  }

  return { current, afterMiss }
}

/** A loader throws nothing else; were it to, that text stays here. */
function asHallpassError(error: unknown): HallpassError {
  return error instanceof HallpassError ? error : refuse('keys_malformed')
}

function reasonOf(error: HallpassError): string | undefined {
  return error.cause instanceof Error ? error.cause.message : undefined
}

function withRetryAfter(error: HallpassError, ms: number): HallpassError {
  if (error.code !== 'unavailable') return error
  const retryAfter = Math.max(1, Math.ceil(ms / 1000))
  return new HallpassError(error.code, error.message, { cause: error.cause, retryAfter })
}
