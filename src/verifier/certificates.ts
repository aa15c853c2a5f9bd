import type { Authorities } from './authorities.ts'
import type { Authority, AuthorityPath } from './authority-paths.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import type { CertificateGrounds } from './claims.ts'
import { type ClientCertificate, leafOf } from './client-certificate.ts'
import { DerError } from './der.ts'
import { authorityKeyId } from './extensions.ts'
import { areNamesAllowed } from './name-constraints.ts'
import { VerifierRefusal } from './refusal.ts'
import { isEcdsaWithSha256, isSignedBy } from './signature.ts'
import { type CertificateUsage, readTaskCertificate, type TaskCertificate } from './task-certificate.ts'

/** A certificate that was verified; whether it is alive is not said. */
export interface Verified {
  der: Uint8Array
  certificate: TaskCertificate
  grounds: CertificateGrounds
}

export interface CertificatesDeps {
  audience: readonly string[]
  /** Seconds. */
  clockTolerance: number
  authorities: Authorities
  /** Milliseconds since the epoch. */
  now: () => number
}

/** Milliseconds, the least between two loads for authorities that nobody knows. */
const authoritiesForMiss = 10_000

/**
 * Verifies certificates of tasks as tokens are verified: signature, time, shape, audience.
 *
 * @throws VerifierRefusal, when called
 */
export function createCertificates(
  deps: CertificatesDeps,
): (presented: ClientCertificate, usage: CertificateUsage) => Promise<Verified> {
  const { audience, clockTolerance, authorities, now } = deps

  return async (presented, usage) => {
    const der = leafOf(presented)
    const { read, keyId } = readLeaf(der)
    // 1. By whom, and is it really?
    if (!isEcdsaWithSha256(read)) throw new VerifierRefusal('algorithm_refused')
    const authority = await signerOf(read, keyId)
    // 2. Now?
    const paths = currentOf(authority, usage)
    if (now() + clockTolerance * 1000 < read.notBefore) throw new VerifierRefusal('certificate_not_yet_valid')
    // 3. A certificate of a task, for us?
    const certificate = readTaskCertificate(read, usage)
    if (!certificate.audience.some(name => audience.includes(name)))
      throw new VerifierRefusal('audience_wrong')
    // 4. By a path of its authority's that lets it have its names: of those, the one that is valid longest.
    const path = paths.find(({ nameConstraints }) => areNamesAllowed(read, nameConstraints))
    if (!path) throw new VerifierRefusal('certificate_name_refused')
    const grounds = {
      kid: authority.kid,
      jti: certificate.jti,
      exp: Math.min(read.notAfter, path.notAfter) / 1000,
      tasks: [certificate.task, ...certificate.path],
      serial: read.serial,
    }
    return { der, certificate, grounds }
  }

  /** The authority that signed it. The broker may have new ones since they were loaded. */
  async function signerOf(read: Certificate, keyId: Uint8Array | null): Promise<Authority> {
    let named = await authorities.named(read.issuer, keyId)
    if (named.length === 0) {
      await authorities.anew(authoritiesForMiss).catch(() => {})
      named = await authorities.named(read.issuer, keyId)
    }
    if (named.length === 0) throw new VerifierRefusal('authority_unknown')
    for (const authority of named) if (await isSignedBy(authority.key, read)) return authority
    throw new VerifierRefusal('signature_wrong')
  }

  /** Of its paths to a root those that are valid now, and for this; the one that is valid longest first. */
  function currentOf({ paths }: Authority, usage: CertificateUsage): AuthorityPath[] {
    const current = paths.filter(
      ({ notBefore, notAfter }) => notBefore <= now() + clockTolerance * 1000 && now() < notAfter,
    )
    if (current.length === 0) throw new VerifierRefusal('authority_expired')
    const fit = current
      .filter(({ servers }) => usage !== 'serverAuth' || servers)
      .sort((one, other) => other.notAfter - one.notAfter)
    if (fit.length === 0) throw new VerifierRefusal('certificate_usage_wrong')
    return fit
  }
}

function readLeaf(der: Uint8Array): { read: Certificate; keyId: Uint8Array | null } {
  try {
    const read = readCertificate(der)
    return { read, keyId: authorityKeyId(read.extensions) }
  } catch (error) {
    throw error instanceof DerError ? new VerifierRefusal('certificate_malformed', { cause: error }) : error
  }
}
