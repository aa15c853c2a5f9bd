import { VerifierRefusal } from './refusal.ts'

const credentials = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: +(.*))?$/s
/** b64token (RFC 6750 §2.1). */
const b64token = /^[A-Za-z0-9\-._~+/]+=*$/

/**
 * The access token of a request's Authorization header (RFC 6750 §2.1). No other place is looked at: tokens in queries end up in logs.
 *
 * @throws VerifierRefusal `token_missing` without a header, or with one of another scheme; `request_malformed` where it cannot be read, or
 *   is several in one
 */
export function bearerToken(value: string | null | undefined): string {
  if (value === null || value === undefined || value === '') throw new VerifierRefusal('token_missing')
  const [, scheme = '', token = ''] = credentials.exec(value) ?? []
  // Several headers that were joined on their way here.
  const isSeveral = /,\s*bearer\b/i.test(value)
  if (scheme !== '' && scheme.toLowerCase() !== 'bearer' && !isSeveral)
    throw new VerifierRefusal('token_missing')
  if (isSeveral || !b64token.test(token)) throw new VerifierRefusal('request_malformed')
  return token
}
