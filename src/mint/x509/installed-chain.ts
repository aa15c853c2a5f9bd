import type { KeyObject } from 'node:crypto'
import { type Certificate, isSelfIssued, readCertificate } from '../../attest/x509/certificate.ts'
import { usages } from '../../attest/x509/extensions.ts'
import { findPath } from '../../attest/x509/find-path.ts'
import { isSignedByIssuer } from '../../attest/x509/path.ts'
import { oids } from '../../der/oids.ts'
import { DerError } from '../../der/read.ts'
import { HallpassError } from '../../errors.ts'
import { newId } from '../../ids.ts'
import { kidOf } from '../signing-key.ts'
import { certificateMaker } from './certificate.ts'
import { spkiOf } from './key-id.ts'
import { newPair } from './root.ts'
import { signerOf } from './signer-of.ts'

/** What an organisation installs: its root, and what leads from it to the broker's authority. */
export interface InstalledChain {
  /** Of the authority, whose key was requested. */
  kid: string
  publicKey: KeyObject
  /** DER, the authority's own first, without the root. */
  certificates: Buffer[]
  root: { kid: string; certificate: Buffer }
  /** When the first of them ends, in milliseconds since the epoch. */
  notAfter: number
}

interface Wanted {
  /** Keys that were requested. */
  kids: string[]
  trustDomain: string
  /** Milliseconds since the epoch. */
  now: number
}

/** An authority that ends sooner is not worth a change of roots. Milliseconds. */
const shortest = 24 * 3_600_000

/**
 * Sorts what an organisation installs: one root that signed itself, the certificate of a requested key, and a valid path between them (RFC 5280
 * §6.1), with none left over. Throws `malformed`, with the reason.
 */
export async function readChain(ders: Buffer[], { kids, trustDomain, now }: Wanted): Promise<InstalledChain> {
  const certificates = ders.map(readOrRefuse)
  const named = await Promise.all(
    certificates.map(async one => ({ one, kid: one.publicKey && (await kidOf(one.publicKey)) })),
  )
  const roots = named.filter(({ one }) => isSelfIssued(one) && isSignedByIssuer(one, one))
  const [root] = roots
  if (!root?.kid || roots.length !== 1) throw refused('it has not exactly one root, which signs itself')
  const found = named.filter(({ kid }) => kid !== null && kids.includes(kid))
  const [authority] = found
  if (!authority?.kid || !authority.one.publicKey || found.length !== 1)
    throw refused('it has not exactly one certificate of a key that was requested')

  mustBeAuthority(authority.one, trustDomain)
  for (const { one } of named) if (one !== authority.one) mustAllowPurposes(one)
  const path = findPath({
    certificate: authority.one,
    intermediates: certificates.filter(one => one !== authority.one && one !== root.one),
    anchors: [root.one],
    now,
  })
  if ('fault' in path) throw refused(`its path is not valid (${path.fault})`)
  if (path.path.length !== certificates.length - 1) throw refused('a certificate in it is not needed')
  const notAfter = Math.min(...certificates.map(one => one.notAfter))
  if (notAfter < now + shortest) throw refused('it ends within a day')
  return {
    kid: authority.kid,
    publicKey: authority.one.publicKey,
    certificates: path.path.map(({ der }) => der).toReversed(),
    root: { kid: root.kid, certificate: root.one.der },
    notAfter,
  }
}

/**
 * Signs a certificate as a task would get it, for a key that is thrown away, and judges its path: whatever above it would have it refused
 * (lengths of paths, names, purposes) is found out here and not by a service. Throws `malformed`.
 */
export async function mustServe(
  { kid, certificates, root }: InstalledChain,
  privateKey: KeyObject,
  { trustDomain, now }: Pick<Wanted, 'trustDomain' | 'now'>,
): Promise<void> {
  const [certificate] = certificates
  if (!certificate) throw refused('it is empty')
  const id = newId()
  const make = certificateMaker(signerOrRefuse(certificate, privateKey, kid), { crl: 'urn:x', ocsp: 'urn:x' })
  const probe = make({
    serial: Buffer.from(id.replaceAll('-', ''), 'hex'),
    notBefore: now,
    notAfter: now + 60_000,
    spki: spkiOf((await newPair()).publicKey),
    uri: `spiffe://${trustDomain}/task/${id}`,
    dnsNames: [],
    clientAuth: true,
    serverAuth: false,
    task: { id, ver: 1, path: [], scopes: ['probe'], audience: ['probe'] },
  })
  const path = findPath({
    certificate: readCertificate(probe),
    intermediates: certificates.map(readCertificate),
    anchors: [readCertificate(root.certificate)],
    now,
  })
  if ('fault' in path) throw refused(`what it signs would not be valid (${path.fault})`)
}

/** RFC 5280 §4.2.1.3 and §4.2.1.9; SPIFFE X509-SVID §3.2: a signing certificate names its trust domain, or nothing. */
function mustBeAuthority(certificate: Certificate, trustDomain: string): void {
  const { extensions, subject } = certificate
  if (subject.rdns.length === 0 || isSelfIssued(certificate))
    throw refused('the certificate has no name of its own')
  const { basicConstraints, keyUsage, extKeyUsage, subjectAltName } = extensions
  if (!basicConstraints?.ca) throw refused('the certificate is not one of an authority')
  // A conforming authority says it (RFC 5280 §4.2.1.3), and some who check ask for it.
  if (!(keyUsage?.has(usages.keyCertSign) && keyUsage?.has(usages.cRLSign)))
    throw refused('its key may not sign certificates and CRLs')
  if (extKeyUsage) throw refused('its key is for certain purposes only')
  const uris = (subjectAltName ?? []).flatMap(name => (name.form === 'uri' ? [name.value] : []))
  if (uris.some(uri => uri !== `spiffe://${trustDomain}`)) throw refused('it names another trust domain')
}

/** Many who check take purposes of an authority for bounds of what is below it, though RFC 5280 §4.2.1.12 does not say so. */
function mustAllowPurposes({ extensions: { extKeyUsage } }: Certificate): void {
  const isFor = (purpose: string) => extKeyUsage?.has(purpose) || extKeyUsage?.has(oids.anyExtendedKeyUsage)
  if (extKeyUsage && !(isFor(oids.clientAuth) && isFor(oids.serverAuth)))
    throw refused('a certificate in it is for other purposes only')
}

function signerOrRefuse(certificate: Buffer, privateKey: KeyObject, kid: string) {
  try {
    return signerOf({ certificate, privateKey, kid })
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw refused(error.message)
  }
}

function readOrRefuse(der: Buffer): Certificate {
  try {
    return readCertificate(der)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw refused(error.message)
  }
}

/** @param reason safe to show */
export const refused = (reason: string, cause: unknown = new Error(reason)): HallpassError =>
  new HallpassError('malformed', `The chain is refused: ${reason}.`, { cause })
