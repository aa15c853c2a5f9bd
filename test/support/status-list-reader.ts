import { inflateSync } from 'node:zlib'
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose'
import type { TestBroker } from './broker.ts'
import type { Reply } from './client.ts'
import { claimsOf } from './scene.ts'

/** A Status List Token as somebody reads it who knows the standard, the broker's address, and nothing else. */
export interface ReadList {
  claims: JWTPayload & { ttl: number; status_list: { bits: number; lst: string } }
  reply: Reply<string>
  /** Throws for an index that is out of range. */
  statusAt(index: number): number
}

/** Where a token's status is: `status.status_list`. */
export const placeOf = (token: string): { idx: number; uri: string } =>
  (claimsOf(token).status as { status_list: { idx: number; uri: string } }).status_list

/** Of the list at this `uri`, as the path below the broker's own address. */
export const listPath = ({ issuer }: TestBroker, uri: string): string => {
  if (!uri.startsWith(`${issuer}/status-lists/`)) throw new Error(`not below the issuer: ${uri}`)
  return uri.slice(issuer.length)
}

export const getList = (
  broker: TestBroker,
  uri: string,
  headers: Record<string, string> = {},
): Promise<Reply<string>> => broker.client.request<string>('GET', listPath(broker, uri), { headers })

/** Gets the list and checks it (Token Status List, Validation Rules), by the clock of the broker. Throws what does not pass. */
export async function readList(broker: TestBroker, uri: string): Promise<ReadList> {
  const reply = await getList(broker, uri)
  if (reply.status !== 200) throw new Error(`no list: ${reply.text}`)
  const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', broker.url))
  const currentDate = new Date(broker.clock.now())
  const { payload, protectedHeader } = await jwtVerify<ReadList['claims']>(reply.text, keys, {
    typ: 'statuslist+jwt',
    issuer: broker.issuer,
    subject: uri,
    requiredClaims: ['iat', 'exp', 'ttl', 'status_list'],
    currentDate,
  })
  if (protectedHeader.kid === undefined) throw new Error('no kid')
  const { bits, lst } = payload.status_list
  const bytes = inflateSync(Buffer.from(lst, 'base64url'))
  return {
    claims: payload,
    reply,
    statusAt(index) {
      const bit = index * bits
      const byte = bytes[Math.floor(bit / 8)]
      if (byte === undefined) throw new RangeError('the index is out of range')
      return Math.floor(byte / 2 ** (bit % 8)) % 2 ** bits
    },
  }
}

/** The status of a token, asked for now. */
export async function statusOf(broker: TestBroker, token: string): Promise<number> {
  const { idx, uri } = placeOf(token)
  return (await readList(broker, uri)).statusAt(idx)
}
