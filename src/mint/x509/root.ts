import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  X509Certificate,
} from 'node:crypto'
import { promisify } from 'node:util'
import type { MasterKey } from '../../secrets/master-key.ts'
import { unwrap, wrap } from '../../secrets/wrap.ts'
import type { RootRow } from '../../store/ca-roots.ts'
import { kidOf, pkcs8Of } from '../signing-key.ts'
import { rootCertificate } from './authority-certificate.ts'
import type { CertificateSigner } from './signer.ts'
import { signerOf } from './signer-of.ts'

/** A root that is published: verifiers trust what is below it. */
export interface Root {
  kid: string
  /** DER. */
  certificate: Buffer
  /** Its name, as OpenSSL writes it. */
  subject: string
  /** Where the broker has its private key; null for an organisation's own. */
  signer: CertificateSigner | null
  /** Milliseconds since the epoch. */
  notAfter: number
  publishedAt: Date
  activeAt: Date
  retiredAt: Date | null
  lastDay: Date | null
}

const purpose = 'ca-root'
const generate = promisify(generateKeyPair)

/** Makes a P-256 key pair, as all of the broker's authorities have. */
export const newPair = (): Promise<{ privateKey: KeyObject; publicKey: KeyObject }> =>
  generate('ec', { namedCurve: 'P-256' })

/** Makes a root of the broker's own and seals it. `notBefore` and `notAfter` are in milliseconds since the epoch. */
export async function newRootRow(
  masterKey: MasterKey,
  trustDomain: string,
  {
    notBefore,
    notAfter,
    ...dates
  }: Pick<RootRow, 'publishedAt' | 'activeAt'> & {
    notBefore: number
    notAfter: number
  },
): Promise<RootRow> {
  const key = await newPair()
  const kid = await kidOf(key.publicKey)
  const certificate = rootCertificate({ key, kid, trustDomain, notBefore, notAfter })
  return {
    ...sealedRoot(masterKey, kid, certificate, key.privateKey),
    ...dates,
    retiredAt: null,
    lastDay: null,
  }
}

/** A root to be stored: what is published of it comes out of the seal, or not at all (invariant 9). */
export function sealedRoot(
  masterKey: MasterKey,
  kid: string,
  certificate: Buffer,
  privateKey: KeyObject | null,
): Pick<RootRow, 'kid' | 'sealed' | 'wrappedBy' | 'own'> {
  const content = JSON.stringify({
    certificate: certificate.toString('base64'),
    privateKey: privateKey && pkcs8Of(privateKey).toString('base64'),
  })
  const sealed = wrap(masterKey, { purpose, kid }, Buffer.from(content))
  return { kid, sealed, wrappedBy: masterKey.id, own: privateKey !== null }
}

/** Throws when the row was not written by a broker that holds this master key, or was altered since. */
export async function openRootRow(masterKey: MasterKey, row: RootRow): Promise<Root> {
  const content = JSON.parse(unwrap(masterKey, { purpose, kid: row.kid }, row.sealed).toString()) as {
    certificate: string
    privateKey: string | null
  }
  const certificate = Buffer.from(content.certificate, 'base64')
  const { publicKey, subject, validTo } = new X509Certificate(certificate)
  if ((await kidOf(publicKey)) !== row.kid) throw new Error('the root is not the one that its kid names')
  const { kid, publishedAt, activeAt, retiredAt, lastDay } = row
  return {
    kid,
    certificate,
    subject,
    signer:
      content.privateKey === null
        ? null
        : signerOf({ certificate, kid, privateKey: keyIn(content.privateKey) }),
    notAfter: Date.parse(validTo),
    publishedAt,
    activeAt,
    retiredAt,
    lastDay,
  }
}

const keyIn = (pkcs8: string): KeyObject => {
  const key = createPrivateKey({ key: Buffer.from(pkcs8, 'base64'), type: 'pkcs8', format: 'der' })
  if (createPublicKey(key).asymmetricKeyType !== 'ec') throw new Error('the root has a key of another kind')
  return key
}
