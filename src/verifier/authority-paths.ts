import { type CryptoKey, calculateJwkThumbprint, type JWK } from 'jose'
import type { Certificate } from './certificate.ts'
import { hexOf, isSame } from './der.ts'
import {
  authorityKeyId,
  basicConstraints,
  extKeyUsage,
  hasUnknown,
  keyUsage,
  keyUsages,
  subjectKeyId,
} from './extensions.ts'
import { areNamesAllowed, type NameConstraints, nameConstraints } from './name-constraints.ts'
import { oids } from './oids.ts'
import { type PublicKey, readPublicKey } from './signature.ts'

/** Who signs certificates of tasks: an authority with a path to a published root. */
export interface Authority {
  /** Thumbprint of its key (RFC 7638), by which the feed and the addresses of revocation lists name it. */
  kid: string
  key: CryptoKey
  /** DER of its subject: the issuer of what it signs. */
  name: Uint8Array
  keyId: Uint8Array | null
  signsCrls: boolean
  paths: AuthorityPath[]
}

/** What holds for an authority by one of its paths to a root. */
export interface AuthorityPath {
  /** When it and all above it are valid. Milliseconds since the epoch. */
  notBefore: number
  notAfter: number
  /** Whether all of the path may be for servers too (RFC 5280 §4.2.1.12): what narrows an authority narrows what is below it. */
  servers: boolean
  /** Its own and those of all above it: what it signs has to keep to each. */
  nameConstraints: readonly NameConstraints[]
}

interface Node {
  certificate: Certificate
  key: PublicKey
  /** Null where nothing is said: then none is ruled out (RFC 5280 §6.1.4 (n)). */
  usages: Set<number> | null
  pathLength: number
  servers: boolean
  nameConstraints: NameConstraints[]
  keyId: Uint8Array | null
  /** Of whoever signed it. */
  parentKeyId: Uint8Array | null
  isRoot: boolean
  parents: Node[]
}

/** Authorities between one that signs certificates of tasks and a root, and these two themselves. */
const longestPath = 5

/**
 * Finds the issuing authorities among published certificates: those with a P-256 key, a path of right signatures to a root that signed itself
 * (RFC 5280 §6.1, without policies), and none below them. An organisation's own authorities, which stand between its root and
 * the broker's authority and sign for others too, are none: what they are is known by whom they signed. Where one of the published certificates
 * has no place (it cannot be read, is not believed, or nobody is found above it), one of theirs may seem to have signed none: then an authority has
 * to say itself that it signs no other.
 *
 * @param published null for one that cannot be read
 */
export async function findAuthorities(published: readonly (Certificate | null)[]): Promise<Authority[]> {
  const read = await Promise.all(published.map(certificate => certificate && nodeOf(certificate)))
  const nodes = read.filter(node => node !== null)
  for (const node of nodes) node.isRoot = await isSelfSigned(node)
  for (const node of nodes) if (!node.isRoot) node.parents = await parentsAmong(nodes, node)
  const above = new Set(nodes.flatMap(node => node.parents))
  const allHavePlaces = read.every(node => node !== null && (node.isRoot || node.parents.length > 0))
  const isIssuing = (node: Node): boolean =>
    !node.isRoot && !above.has(node) && (allHavePlaces || node.pathLength === 0)
  const found = new Map<string, Authority>()
  for (const node of nodes) {
    const paths = pathsOf(node, 0)
    const { p256 } = node.key
    if (!isIssuing(node) || p256 === null || paths.length === 0) continue
    const kid = await calculateJwkThumbprint((await crypto.subtle.exportKey('jwk', p256)) as JWK, 'sha256')
    const name = node.certificate.subject
    // Two roots may each have signed a certificate of the same authority.
    const id = `${kid} ${hexOf(name)}`
    const known = found.get(id)
    found.set(id, {
      kid,
      key: p256,
      name,
      keyId: known?.keyId ?? node.keyId,
      signsCrls: node.usages?.has(keyUsages.cRLSign) !== false || known?.signsCrls === true,
      paths: [...(known?.paths ?? []), ...paths],
    })
  }
  return [...found.values()]
}

/** What is understood of an authority's certificate. */
const understood = new Set<string>([
  oids.subjectKeyIdentifier,
  oids.authorityKeyIdentifier,
  oids.keyUsage,
  oids.basicConstraints,
  oids.subjectAltName,
  oids.extKeyUsage,
  oids.certificatePolicies,
  oids.nameConstraints,
])

/** Null where it is no authority's, or not to be understood: what cannot be read is not believed. */
async function nodeOf(certificate: Certificate): Promise<Node | null> {
  try {
    const { extensions } = certificate
    const constraints = basicConstraints(extensions)
    const usages = keyUsage(extensions)
    const purposes = extKeyUsage(extensions)
    const mayBeFor = (purpose: string) =>
      purposes === null || purposes.includes(purpose) || purposes.includes(oids.anyExtendedKeyUsage)
    const isAuthority =
      constraints?.isAuthority === true &&
      usages?.has(keyUsages.keyCertSign) !== false &&
      mayBeFor(oids.clientAuth) &&
      !hasUnknown(extensions, understood)
    if (!isAuthority) return null
    const naming = nameConstraints(extensions)
    return {
      certificate,
      key: await readPublicKey(certificate.publicKey),
      usages,
      pathLength: constraints.pathLength ?? Number.POSITIVE_INFINITY,
      servers: mayBeFor(oids.serverAuth),
      nameConstraints: naming ? [naming] : [],
      keyId: subjectKeyId(extensions),
      parentKeyId: authorityKeyId(extensions),
      isRoot: false,
      parents: [],
    }
  } catch {
    return null
  }
}

const isSelfSigned = async ({ certificate, key }: Node): Promise<boolean> =>
  isSelfIssued(certificate) && (await hasSigned(key, certificate))

const isSelfIssued = ({ issuer, subject }: Certificate): boolean => isSame(issuer, subject)

async function parentsAmong(nodes: Node[], node: Node): Promise<Node[]> {
  const parents: Node[] = []
  for (const other of nodes) {
    const isNamed =
      other !== node &&
      isSame(other.certificate.subject, node.certificate.issuer) &&
      isSameKeyId(other.keyId, node.parentKeyId)
    if (isNamed && (await hasSigned(other.key, node.certificate))) parents.push(other)
  }
  return parents
}

/** Where both are there, they agree. */
export const isSameKeyId = (one: Uint8Array | null, other: Uint8Array | null): boolean =>
  one === null || other === null || isSame(one, other)

const hasSigned = (key: PublicKey, certificate: Certificate): Promise<boolean> =>
  key.verifies(certificate).catch(() => false)

/** Each path from here to a root. `below`: how many authorities are beneath this one. */
function pathsOf(node: Node, below: number): AuthorityPath[] {
  if (below >= longestPath || node.pathLength < below) return []
  const { certificate, servers, nameConstraints } = node
  const { notBefore, notAfter } = certificate
  if (node.isRoot) return [{ notBefore, notAfter, servers, nameConstraints }]
  return (
    node.parents
      .flatMap(parent => pathsOf(parent, below + 1))
      // One that an authority issues to itself, with another key, keeps its name (RFC 5280 §6.1.3 (b), (c)).
      .filter(above => isSelfIssued(certificate) || areNamesAllowed(certificate, above.nameConstraints))
      .map(above => ({
        notBefore: Math.max(notBefore, above.notBefore),
        notAfter: Math.min(notAfter, above.notAfter),
        servers: servers && above.servers,
        nameConstraints: [...above.nameConstraints, ...nameConstraints],
      }))
  )
}
