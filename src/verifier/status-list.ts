import { base64url, errors, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { readBounded } from './get.ts'
import { isCount } from './messages.ts'
import { type RefusalCode, VerifierRefusal } from './refusal.ts'

/** A verified Token Status List. */
export interface StatusList {
  /** The key that signed it. */
  kid: string
  /** Seconds since the epoch. */
  issuedAt: number
  expiresAt: number
  /** Seconds that it may be kept; infinite where it does not say. */
  ttl: number
  bits: number
  bytes: Uint8Array
}

export interface ListRules {
  /** Where it was fetched: it must say the same of itself. */
  uri: string
  issuer: string
  algorithms: string[]
  keys: JWTVerifyGetKey
  /** Milliseconds since the epoch. */
  now: number
  /** Seconds. */
  clockTolerance: number
}

/** A million credentials take 250 kB; compressed as badly as can be, a little more. */
const maxInflated = 16 * 1024 * 1024

/**
 * Verifies a Status List Token and unpacks its list (draft-ietf-oauth-status-list-21 §5.1, §8.3). How old it may be is not judged here.
 *
 * @throws VerifierRefusal `status_malformed`, `status_key_refused`, `status_other`, `status_stale`
 */
export async function readStatusList(text: string, rules: ListRules): Promise<StatusList> {
  const { uri, issuer, algorithms, keys, now, clockTolerance } = rules
  const verified = await jwtVerify(text, keys, {
    typ: 'statuslist+jwt',
    subject: uri,
    algorithms,
    clockTolerance,
    currentDate: new Date(now),
    requiredClaims: ['iat', 'status_list'],
  }).catch(error => {
    throw new VerifierRefusal(codeOf(error), { cause: error })
  })
  const { iss, iat, exp, ttl, status_list } = verified.payload
  const { kid } = verified.protectedHeader
  const { bits, lst } = (status_list ?? {}) as { bits?: unknown; lst?: unknown }
  const isSound =
    typeof kid === 'string' &&
    typeof iat === 'number' &&
    (ttl === undefined || (typeof ttl === 'number' && ttl > 0)) &&
    (bits === 1 || bits === 2 || bits === 4 || bits === 8) &&
    typeof lst === 'string'
  if (!isSound) throw new VerifierRefusal('status_malformed')
  if (iss !== undefined && iss !== issuer) throw new VerifierRefusal('status_other')
  const forever = Number.POSITIVE_INFINITY
  return {
    kid,
    issuedAt: iat,
    expiresAt: exp ?? forever,
    ttl: (ttl as number | undefined) ?? forever,
    bits,
    bytes: await inflate(lst),
  }
}

/**
 * The status at an index (§4.1): statuses are packed from the least significant bit of each byte.
 *
 * @throws VerifierRefusal `status_out_of_range`
 */
export function statusAt({ bits, bytes }: StatusList, idx: number): number {
  const perByte = 8 / bits
  const byte = isCount(idx) ? bytes[Math.floor(idx / perByte)] : undefined
  if (byte === undefined) throw new VerifierRefusal('status_out_of_range')
  return (byte >> ((idx % perByte) * bits)) & (2 ** bits - 1)
}

/** DEFLATE in the ZLIB format (§4.1), which the web calls `deflate`. */
async function inflate(lst: string): Promise<Uint8Array> {
  try {
    const stream = new DecompressionStream('deflate')
    const writer = stream.writable.getWriter()
    // What goes wrong is told by the reading end.
    writer.write(new Uint8Array(base64url.decode(lst))).catch(() => {})
    writer.close().catch(() => {})
    return await readBounded(stream.readable, maxInflated)
  } catch (cause) {
    throw new VerifierRefusal('status_malformed', { cause })
  }
}

function codeOf(error: unknown): RefusalCode {
  if (error instanceof errors.JWTExpired) return 'status_stale'
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'sub' ? 'status_other' : 'status_malformed'
  if (error instanceof errors.JWTInvalid || error instanceof errors.JWSInvalid) return 'status_malformed'
  return error instanceof errors.JOSEError && error.code !== 'ERR_JOSE_GENERIC'
    ? 'status_key_refused'
    : 'status_unreachable'
}
