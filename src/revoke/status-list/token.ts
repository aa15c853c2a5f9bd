import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import type { SigningAlg } from '../../config.ts'
import { signJwt } from '../../mint/jwt.ts'
import type { Keyring } from '../../mint/keyring.ts'
import type { SigningKey } from '../../mint/signing-key.ts'
import { statusListUri } from '../../mint/status-index.ts'
import type { FollowedList, StatusLists } from './follow.ts'

/** A Status List Token, ready to be sent. */
export interface StatusListToken {
  jwt: Buffer
  gzipped: Buffer
  /** Strong (RFC 9110 §8.8.3): of these very bytes, `iat` and signature included. */
  entityTag: string
  /** Seconds since the epoch. */
  iat: number
  exp: number
}

export interface StatusListTokenDeps {
  lists: StatusLists
  keyring: Pick<Keyring, 'signer' | 'list'>
  /** The configured one. */
  alg: SigningAlg
  issuer: string
}

/** Seconds that a verifier may keep a list: `ttl`, and what `Cache-Control` says. */
export const statusListTtl = 5
/** Seconds that a list may be relied upon at all: `exp`. */
const life = 60
/** How long a token is served again where nothing in it has changed, in milliseconds: verifiers want them fresh. */
const reuse = 1_000

const deflate = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.deflate)
const gzip = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gzip)

/** Lists are long runs of one status: looking for runs alone is six times as quick as looking for anything, and smaller. */
const runs = { strategy: zlib.constants.Z_RLE }
/** Base64 of what is compressed repeats nothing: all that can be gained is its alphabet. */
const alphabet = { strategy: zlib.constants.Z_HUFFMAN_ONLY }

interface Made {
  version: number
  kid: string
  asOf: number
  token: Promise<StatusListToken>
}

/**
 * The token of a status list as the record is now; null where there is no such list, or no longer. Throws `unavailable`: a list that
 * may be old is none. However many ask at once, it is made once.
 */
export function statusListTokens(deps: StatusListTokenDeps): (id: string) => Promise<StatusListToken | null> {
  const { lists } = deps
  const made = new WeakMap<FollowedList, Made>()

  return async id => {
    const found = await lists.read(id)
    if (!found) return null
    const { list, asOf } = found
    const key = signerFor(deps, list)
    const last = made.get(list)
    const holds = last?.version === list.version && last.kid === key.kid && Math.abs(asOf - last.asOf) < reuse
    if (holds) return last.token
    const token = make(deps, key, list, asOf)
    made.set(list, { version: list.version, kid: key.kid, asOf, token })
    token.catch(() => made.delete(list))
    return token
  }
}

/** The algorithm of what is in it, as long as that signs: whoever verifies the one can then verify the other. */
function signerFor({ keyring, alg }: StatusListTokenDeps, { kid }: FollowedList): SigningKey {
  const keys = keyring.list()
  const own = keys.find(key => key.kid === kid)?.alg
  return keyring.signer(keys.find(key => key.alg === own && key.state === 'active')?.alg ?? alg)
}

/** Token Status List, Status List Token in JWT Format. */
async function make(
  { issuer }: StatusListTokenDeps,
  key: SigningKey,
  { id, bits }: FollowedList,
  asOf: number,
): Promise<StatusListToken> {
  // A copy: the bits may change while another thread reads them.
  const lst = await deflate(Buffer.from(bits), runs)
  const iat = Math.floor(asOf / 1000)
  const exp = Math.floor(Math.min(iat + life, (key.lastDay?.getTime() ?? Number.POSITIVE_INFINITY) / 1000))
  const claims = {
    iss: issuer,
    sub: statusListUri(issuer, id),
    iat,
    exp,
    ttl: statusListTtl,
    status_list: { bits: 2, lst: lst.toString('base64url') },
  }
  const jwt = Buffer.from(await signJwt(key, 'statuslist+jwt', claims))
  const digest = createHash('sha256').update(jwt).digest('base64url').slice(0, 22)
  return { jwt, gzipped: await gzip(jwt, alphabet), entityTag: digest, iat, exp }
}
