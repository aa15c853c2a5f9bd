import { oids } from '../../der/oids.ts'
import { DerError } from '../../der/read.ts'
import { refuse } from '../refusal.ts'
import { parseSpiffeId, type SpiffeId } from '../spiffe-id.ts'
import { type Certificate, isSelfIssued, readCertificate } from './certificate.ts'
import { usages } from './extensions.ts'
import { findPath } from './find-path.ts'
import type { GeneralName } from './names.ts'
import type { PathFault } from './path.ts'
import { hasAcceptedAlgorithm } from './signature.ts'

/** A chain as it was presented: an SVID in its form, and not proven to be one. */
export interface PresentedSvid {
  /** Its SPIFFE ID, as written. */
  id: string
  spiffeId: SpiffeId
  leaf: Certificate
  intermediates: Certificate[]
}

/** When a path is valid, both ends inclusive. Milliseconds since the epoch. */
export interface Validity {
  notBefore: number
  notAfter: number
}

/** What the caller is told. Links that do not hold make no path, so that those faults do not come up. */
const pathReasons = {
  name_chaining: 'path',
  signature: 'path',
  expired: 'expired',
  not_yet_valid: 'not_yet_valid',
  name_constraints: 'name_constraints',
  policies: 'policies',
  critical_extension: 'critical_extension',
  signer: 'signer',
  path_length: 'path_length',
} as const satisfies Record<PathFault, string>

const maxCertificates = 16
const maxBytes = 64 * 1024

/**
 * Reads a chain, leaf first, and holds its leaf against the X509-SVID standard (§§2 to 5).
 *
 * @throws HallpassError `attestation_invalid`: chain_size, certificate, weak_key, uri, subject, names, authority, key_usage, ext_key_usage.
 */
export function readSvid(chain: readonly Uint8Array[]): PresentedSvid {
  if (chain.length > maxCertificates || chain.some(({ length }) => length > maxBytes))
    throw refuse('chain_size')
  const [leaf, ...intermediates] = readCertificates(chain)
  if (!leaf) throw refuse('certificate')
  const svid = checkLeaf(leaf)
  if ([leaf, ...intermediates].some(isWeak)) throw refuse('weak_key')
  return { ...svid, leaf, intermediates }
}

/**
 * The path from an SVID to one of its trust domain's authorities.
 *
 * @param clockSkew ms that an authority's clock may be ahead of ours
 * @returns when it is valid, or null where no path leads to any of these authorities: there may be newer ones.
 * @throws HallpassError `attestation_invalid`: what is wrong with the path.
 */
export function verifySvid(
  { leaf, intermediates, spiffeId }: PresentedSvid,
  authorities: readonly Certificate[],
  now: number,
  clockSkew: number,
): Validity | null {
  const found = findPath({ certificate: leaf, intermediates, anchors: authorities, now, clockSkew })
  if ('fault' in found) {
    if (found.fault === 'none') return null
    throw refuse(pathReasons[found.fault])
  }
  for (const signer of found.path.slice(0, -1)) checkSigner(signer, spiffeId)
  const all = [found.anchor, ...found.path]
  return {
    notBefore: Math.max(...all.map(({ notBefore }) => notBefore)),
    notAfter: Math.min(...all.map(({ notAfter }) => notAfter)),
  }
}

function readCertificates(chain: readonly Uint8Array[]): Certificate[] {
  try {
    return chain.map(readCertificate)
  } catch (error) {
    throw error instanceof DerError ? refuse('certificate') : error
  }
}

/** Nobody goes by the signature of a root that is sent along. */
const isWeak = (certificate: Certificate): boolean =>
  certificate.publicKey === null || !(hasAcceptedAlgorithm(certificate) || isSelfIssued(certificate))

function checkLeaf(leaf: Certificate): Pick<PresentedSvid, 'id' | 'spiffeId'> {
  const { basicConstraints, keyUsage, extKeyUsage, subjectAltName, critical } = leaf.extensions
  // §5.2: exactly one URI, a SPIFFE ID with a path; names of other forms may be there.
  const uris = urisIn(subjectAltName)
  const [id, ...others] = uris
  if (id === undefined || others.length > 0) throw refuse('uri')
  const spiffeId = parseSpiffeId(id)
  if (!spiffeId) throw refuse('subject')
  // §3.1, RFC 5280 §4.1.2.6
  if (leaf.subject.rdns.length === 0 && !critical.has(oids.subjectAltName)) throw refuse('names')
  // §§4.1, 5.2: the extension says false. One that is left out says nothing.
  if (!basicConstraints || basicConstraints.ca || basicConstraints.pathLength !== null)
    throw refuse('authority')
  // §4.3
  const { digitalSignature, keyCertSign, cRLSign } = usages
  const signsAlone = keyUsage?.has(digitalSignature) && !keyUsage.has(keyCertSign) && !keyUsage.has(cRLSign)
  if (!signsAlone || !critical.has(oids.keyUsage)) throw refuse('key_usage')
  // §4.4
  if (extKeyUsage && !extKeyUsage.has(oids.clientAuth)) throw refuse('ext_key_usage')
  return { id, spiffeId }
}

/** §§3.2, 4.1, 4.3: a signing certificate between the authority and the SVID. That it is one at all, the path's validation has seen. */
function checkSigner({ extensions }: Certificate, { trustDomain }: SpiffeId): void {
  const { keyUsage, extKeyUsage, subjectAltName } = extensions
  if (!keyUsage) throw refuse('signer')
  const uris = urisIn(subjectAltName)
  if (uris.length > 1 || uris.some(uri => uri !== `spiffe://${trustDomain}`)) throw refuse('signer_domain')
  // RFC 5280 §4.2.1.12 leaves it open; what was meant for other ends vouches for no client here.
  if (extKeyUsage && !extKeyUsage.has(oids.clientAuth) && !extKeyUsage.has(oids.anyExtendedKeyUsage))
    throw refuse('ext_key_usage')
}

const urisIn = (names: readonly GeneralName[] | null): string[] =>
  (names ?? []).flatMap(name => (name.form === 'uri' ? [name.value] : []))
