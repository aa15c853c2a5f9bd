import { constants, type KeyObject, type SignKeyObjectInput, sign as signSync } from 'node:crypto'
import { promisify } from 'node:util'
import type { SigningAlg } from '../config.ts'
import { sideBySide } from '../ecdsa.ts'
import type { SigningKey } from './signing-key.ts'

/** Whose it is: of whoever has the private key of this certificate (RFC 7800 §3.1, RFC 8705 §3.1). */
export interface Confirmation {
  'x5t#S256': string
}

/** Claims of an access token (RFC 9068 §2.2, contract §4). */
export interface AccessTokenClaims {
  iss: string
  sub: string
  client_id: string
  aud: string | string[]
  iat: number
  exp: number
  jti: string
  scope: string
  task_id: string
  task_ver: number
  /** `<id>:<ver>` of each task above, root first; absent at the root. */
  task_path?: string[]
  /** Who holds it; absent where whoever bears it does. */
  cnf?: Confirmation
  /** Its place in a Token Status List (draft-ietf-oauth-status-list, Referenced Token). */
  status?: { status_list: { idx: number; uri: string } }
}

const signInThread = promisify(signSync) as (
  digest: string | null,
  data: Buffer,
  key: SignKeyObjectInput,
) => Promise<Buffer>

/** How node:crypto makes each algorithm's signature (RFC 7518 §3.3 to 3.5, RFC 8037 §3.1). */
const algorithms: Record<
  SigningAlg,
  { digest: string | null; options: Omit<SignKeyObjectInput, 'key'>; slow: boolean }
> = {
  ES256: { digest: 'sha256', options: {}, slow: false },
  ES384: { digest: 'sha384', options: { dsaEncoding: 'ieee-p1363' }, slow: true },
  RS256: { digest: 'sha256', options: { padding: constants.RSA_PKCS1_PADDING }, slow: true },
  PS256: {
    digest: 'sha256',
    options: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
    slow: true,
  },
  EdDSA: { digest: null, options: {}, slow: false },
}

/** What is signed with these keys. No two kinds have one `typ`, so that none passes for another (RFC 8725 §3.11). */
const types = { 'at+jwt': headersOf('at+jwt'), 'statuslist+jwt': headersOf('statuslist+jwt') }

/** Signs an access token: `typ: at+jwt` (RFC 9068 §2.1). */
export const signAccessToken = (key: SigningKey, claims: AccessTokenClaims): Promise<string> =>
  signJwt(key, 'at+jwt', claims)

/** Signs claims: compact JWS (RFC 7515 §7.1). Slow algorithms leave the event loop free. */
export async function signJwt(key: SigningKey, typ: keyof typeof types, claims: object): Promise<string> {
  const { digest, options, slow } = algorithms[key.alg]
  const input = `${types[typ](key)}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`
  const signature = slow
    ? await signInThread(digest, Buffer.from(input), { key: key.privateKey, ...options })
    : quick(key.alg, signSync(digest, Buffer.from(input), key.privateKey))
  return `${input}.${signature.toString('base64url')}`
}

/** With the bare key, which is twice as quick, node:crypto writes ECDSA signatures in DER. */
const quick = (alg: SigningAlg, signature: Buffer): Buffer =>
  alg === 'ES256' ? sideBySide(signature, 32) : signature

/** The header is the same for all tokens of a key and a type. */
function headersOf(typ: string): (key: SigningKey) => string {
  const headers = new WeakMap<KeyObject, string>()
  return ({ kid, alg, privateKey }) => {
    let header = headers.get(privateKey)
    if (!header) {
      header = Buffer.from(JSON.stringify({ typ, alg, kid })).toString('base64url')
      headers.set(privateKey, header)
    }
    return header
  }
}
