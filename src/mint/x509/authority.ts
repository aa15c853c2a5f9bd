import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { MasterKey } from '../../secrets/master-key.ts'
import { unwrap, wrap } from '../../secrets/wrap.ts'
import type { KeyRow } from '../../store/signing-keys.ts'
import type { Dated } from '../custody.ts'
import { kidOf, pkcs8Of } from '../signing-key.ts'
import type { Root } from './root.ts'
import type { CertificateSigner } from './signer.ts'
import { signerOf } from './signer-of.ts'

/** An issuing authority: a signing key, with the certificates up to its root. */
export interface Authority extends Dated {
  use: 'x509'
  /** What it signs with, as its own certificate names it. */
  signer: CertificateSigner
  /** DER of its certificate and of those between it and its root, which is not among them. */
  chain: Buffer[]
  rootKid: string
  /** When the first of them ends, the root's included: nothing that it signs is valid for longer. Milliseconds since the epoch. */
  notAfter: number
}

const purpose = 'ca-authority'

/** The private key of an authority, wrapped. It is for this use alone, whatever a row says. */
export const wrapAuthorityKey = (masterKey: MasterKey, kid: string, privateKey: KeyObject): Buffer =>
  wrap(masterKey, { purpose, kid }, pkcs8Of(privateKey))

/** Throws when it was not wrapped by a broker that holds this master key, or was altered since. */
export async function openAuthorityKey(
  masterKey: MasterKey,
  { kid, privateKey }: Pick<KeyRow, 'kid' | 'privateKey'>,
): Promise<KeyObject> {
  const pkcs8 = unwrap(masterKey, { purpose, kid }, privateKey)
  const key = createPrivateKey({ key: pkcs8, type: 'pkcs8', format: 'der' })
  if ((await kidOf(createPublicKey(key))) !== kid)
    throw new Error('the key is not the one that its kid names')
  return key
}

/**
 * An authority whose key decrypted, whose certificate is of that key, and whose chain ends at one of the roots. Throws otherwise: who can
 * write to the database alone can give it no other certificate than one that such a root has signed (invariant 9).
 */
export async function openAuthorityRow(masterKey: MasterKey, row: KeyRow, roots: Root[]): Promise<Authority> {
  const privateKey = await openAuthorityKey(masterKey, row)
  const chain = row.authority?.chain ?? []
  const root = roots.find(({ kid }) => kid === row.authority?.rootKid)
  const [certificate] = chain
  if (!certificate || !root) throw new Error('the authority has no chain')
  const notAfter = mustChain([...chain, root.certificate])
  const { kid, publishedAt, activeAt, retiredAt, lastDay, withdrawnAt } = row
  return {
    use: 'x509',
    kid,
    alg: 'ES256',
    signer: signerOf({ certificate, privateKey, kid }),
    chain,
    rootKid: root.kid,
    notAfter,
    publishedAt,
    activeAt,
    retiredAt,
    lastDay,
    withdrawnAt,
  }
}

/** Each signed by the next, which is an authority: answers when the first of them ends. The full judgement of a path (RFC 5280 §6.1) was made when it was installed. */
function mustChain(certificates: Buffer[]): number {
  const parsed = certificates.map(der => new X509Certificate(der))
  for (const [i, certificate] of parsed.entries()) {
    const issuer = parsed[i + 1]
    if (issuer && !(issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)))
      throw new Error('a certificate of the chain is not signed by an authority above it')
  }
  return Math.min(...parsed.map(({ validTo }) => Date.parse(validTo)))
}
