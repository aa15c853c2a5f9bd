import { generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import type { Clock } from '../../clock.ts'
import { responderCertificate } from '../../mint/x509/authority-certificate.ts'
import { keyIdOf } from '../../mint/x509/key-id.ts'
import type { CertificateSigner } from '../../mint/x509/signer.ts'

/** To whom an authority leaves answering for it (RFC 6960 §4.2.2.2). */
export interface Responder {
  privateKey: KeyObject
  /** DER. */
  certificate: Buffer
  /** SHA-1 of its public key (RFC 6960 §4.2.1, KeyHash). */
  keyHash: Buffer
}

/** Nobody asks whether a responder was revoked (RFC 6960 §4.2.2.2.1): none is one for long. Milliseconds. */
const life = 24 * 3_600_000
/** Clocks of those who check it may be behind. Milliseconds. */
const backdated = 5 * 60_000

const generate = promisify(generateKeyPair)

/**
 * The responder of an authority: of a key that is nowhere but in this process, and is another one when half of its life is over. The
 * authority's own key signs its certificate alone.
 */
export function responders(clock: Clock): (authority: CertificateSigner) => Promise<Responder> {
  const made = new Map<string, { responder: Promise<Responder>; from: number; until: number }>()

  async function make(issuer: CertificateSigner, notBefore: number, notAfter: number): Promise<Responder> {
    const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' })
    const certificate = responderCertificate({ issuer, publicKey, notBefore, notAfter })
    return { privateKey, certificate, keyHash: keyIdOf(publicKey) }
  }

  return async authority => {
    const now = clock()
    const last = made.get(authority.kid)
    if (last && last.from <= now && now < last.until) return last.responder
    const notAfter = Math.min(now + life, authority.notAfter)
    const responder = make(authority, now - backdated, notAfter)
    made.set(authority.kid, { responder, from: now, until: now + (notAfter - now) / 2 })
    responder.catch(() => made.delete(authority.kid))
    return responder
  }
}
