import { type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { oids } from '../../der/oids.ts'
import { constructed, tags } from '../../der/tags.ts'
import { bitString, element, headOf, integer, none, sequence, time } from '../../der/write.ts'
import { authorityKeyIdentifier, extensionOf } from '../../mint/x509/extensions.ts'
import { uriName } from '../../mint/x509/names.ts'
import { type CertificateSigner, signatureAlgorithm } from '../../mint/x509/signer.ts'
import { inTurns } from './in-turns.ts'

export interface CrlContent {
  signer: CertificateSigner
  /** Milliseconds since the epoch. */
  thisUpdate: number
  nextUpdate: number
  number: bigint
  /** DER of the entries, one or many at a time. They must not change until the CRL is there. */
  entries: Iterable<Buffer>
  /** Of a delta: BaseCRLNumber. null: it is complete. */
  base: bigint | null
  /** Where the delta to this one is; null where there is none. */
  freshest: string | null
}

/** The outer SEQUENCE's head, and what comes after what is signed. */
const headMost = 6
const tailMost = 128

const signAside = promisify<string, Uint8Array, KeyObject, Buffer>(sign)

/**
 * A CRL (RFC 5280 §5.1): DER. However many entries there are, others get their turn meanwhile: they are put together bit by bit, in the
 * one buffer that is answered, and another thread signs.
 */
export async function encodeCrl(content: CrlContent): Promise<Buffer> {
  const { signer, thisUpdate, nextUpdate } = content
  const { parts, length } = await collect(content.entries)
  const before = Buffer.concat([
    // Version 2.
    integer(1),
    signatureAlgorithm,
    signer.name,
    time(thisUpdate),
    time(nextUpdate),
    // A list of none is left out (RFC 5280 §5.1.2.6).
    length === 0 ? none : headOf(tags.sequence, length),
  ])
  const after = element(constructed(0), sequence(...extensionsOf(content)))
  const toBeSigned = before.length + length + after.length
  const head = headOf(tags.sequence, toBeSigned)

  const whole = Buffer.allocUnsafe(headMost + head.length + toBeSigned + tailMost)
  let at = headMost
  const put = (part: Uint8Array): void => {
    whole.set(part, at)
    at += part.length
  }
  put(head)
  put(before)
  await inTurns(parts, put)
  put(after)

  const signature = await signAside('sha256', whole.subarray(headMost, at), signer.privateKey)
  put(signatureAlgorithm)
  put(bitString(signature))
  const outer = headOf(tags.sequence, at - headMost)
  whole.set(outer, headMost - outer.length)
  return whole.subarray(headMost - outer.length, at)
}

const ofNumber = extensionOf(oids.crlNumber)
const ofDelta = extensionOf(oids.deltaCrlIndicator, { critical: true })
const ofFreshest = extensionOf(oids.freshestCrl)

/** RFC 5280 §5.2. Every certificate of its issuer is in its scope, whatever the reason: that is said by no issuingDistributionPoint. */
function extensionsOf({ signer, number, base, freshest }: CrlContent): Buffer[] {
  const extensions = [authorityKeyIdentifier(signer.keyId), ofNumber(integer(number))]
  if (base !== null) extensions.push(ofDelta(integer(base)))
  if (freshest !== null) extensions.push(ofFreshest(distributionPoints(freshest)))
  return extensions
}

/** CRLDistributionPoints of one address (RFC 5280 §4.2.1.13). */
function distributionPoints(url: string): Buffer {
  return sequence(sequence(element(constructed(0), element(constructed(0), uriName(url)))))
}

async function collect(entries: Iterable<Buffer>): Promise<{ parts: Buffer[]; length: number }> {
  const parts: Buffer[] = []
  let length = 0
  await inTurns(entries, entry => {
    parts.push(entry)
    length += entry.length
  })
  return { parts, length }
}
