import { refuse } from './refusal.ts'
import { isJsonObject, type JsonObject, readStrictJson } from './strict-json.ts'

export interface Jws {
  header: JsonObject
  payload: JsonObject
  headerBytes: Buffer
  payloadBytes: Buffer
  /** What the signature is over: ASCII of the first two parts with their dot (RFC 7515 §5.2). */
  signingInput: Buffer
  signature: Buffer
}

const maxLength = 32 * 1024

/**
 * Reads a JWS in compact serialization (RFC 7515 §7.1) without verifying anything. Only the one canonical spelling is
 * accepted (contract §2), so that a token cannot be altered and still be the same token.
 *
 * @throws HallpassError `attestation_invalid`: size, encoding, json.
 */
export function parseJws(token: string): Jws {
  if (token.length > maxLength) throw refuse('size')
  const parts = token.split('.', 4)
  const [header, payload, signature] = parts.map(decodeBase64url)
  if (parts.length !== 3 || !header || !payload || !signature) throw refuse('encoding')
  return {
    header: parseObject(header),
    payload: parseObject(payload),
    headerBytes: header,
    payloadBytes: payload,
    signingInput: Buffer.from(token.slice(0, token.lastIndexOf('.')), 'ascii'),
    signature,
  }
}

/** Node ignores padding, whitespace, foreign letters and stray last bits: all of them show when encoding again. */
function decodeBase64url(part: string): Buffer | null {
  const bytes = Buffer.from(part, 'base64url')
  return bytes.length > 0 && bytes.toString('base64url') === part ? bytes : null
}

function parseObject(bytes: Buffer): JsonObject {
  const value = readStrictJson(bytes)
  if (!isJsonObject(value)) throw refuse('json')
  return value
}
