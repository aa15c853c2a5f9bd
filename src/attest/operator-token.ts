import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../clock.ts'
import { HallpassError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { MasterKey } from '../secrets/master-key.ts'

/** The principal of a bootstrap operator token (contract §3). */
export const bootstrapOperator = 'hallpass:bootstrap'

const typ = 'hallpass-operator+jwt'
const alg = 'HS256'
const lifetimeSeconds = 3600
const longestToken = 4096

interface Parts {
  masterKey: MasterKey
  /** The broker's: both `iss` and `aud`. */
  issuer: string
  clock: Clock
}

/** A token for whoever can read the master key: an hour, and only at this broker. */
export const mintOperatorToken = ({ masterKey, issuer, clock }: Parts): Promise<string> => {
  const now = Math.floor(clock() / 1000)
  return new SignJWT({})
    .setProtectedHeader({ alg, typ })
    .setIssuer(issuer)
    .setAudience(issuer)
    .setSubject(bootstrapOperator)
    .setJti(newId())
    .setIssuedAt(now)
    .setExpirationTime(now + lifetimeSeconds)
    .sign(macKey(masterKey))
}

/** Whether the header says so. Proves nothing: it chooses which check the token has to pass. */
export const looksLikeOperatorToken = (token: string): boolean => {
  if (token.length > longestToken) return false
  try {
    return decodeProtectedHeader(token).typ === typ
  } catch {
    return false
  }
}

/**
 * Accepts exactly what `mintOperatorToken` writes under the same master key and issuer, and no more than its hour.
 * @returns `expiresAt` in milliseconds since the epoch.
 * @throws HallpassError `attestation_invalid`, which does not say why: the cause does, for the log.
 */
export const verifyOperatorToken = async (
  { masterKey, issuer, clock }: Parts,
  token: string,
): Promise<{ jti: string; expiresAt: number }> => {
  try {
    if (token.length > longestToken) throw new Error('too long')
    refuseOtherSpellings(token)
    const { payload, protectedHeader } = await jwtVerify(token, macKey(masterKey), {
      algorithms: [alg],
      issuer,
      subject: bootstrapOperator,
      clockTolerance: 0,
      currentDate: new Date(clock()),
      requiredClaims: ['jti', 'iat', 'exp'],
    })
    // jose takes `application/…` and other cases for the same typ, and an array for one audience.
    if (protectedHeader.typ !== typ || Object.keys(protectedHeader).length !== 2)
      throw new Error('other header')
    if (payload.aud !== issuer) throw new Error('other audience')
    const { jti, iat, exp } = payload
    if (typeof jti !== 'string' || !Number.isInteger(iat) || !Number.isInteger(exp))
      throw new Error('other claims')
    if (iat! * 1000 > clock()) throw new Error('from the future')
    if (exp! - iat! > lifetimeSeconds) throw new Error('longer than its hour')
    return { jti, expiresAt: exp! * 1000 }
  } catch (cause) {
    throw new HallpassError('attestation_invalid', 'The operator token is not valid', { cause })
  }
}

/** jose tolerates padding, line breaks and stray last bits in base64url; one token has one text (pitfalls, attestation). */
const refuseOtherSpellings = (token: string): void => {
  const canonical = token
    .split('.')
    .map(part => Buffer.from(part, 'base64url').toString('base64url'))
    .join('.')
  if (canonical !== token) throw new Error('not in its canonical spelling')
}

const macKey = (masterKey: MasterKey): Uint8Array => masterKey.derive('operator-token')
