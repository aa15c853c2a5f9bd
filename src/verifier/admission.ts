import type { AuthBy, CredentialKind } from './auth.ts'
import { bearerToken } from './authorization.ts'
import type { ClientCertificate } from './client-certificate.ts'
import type { Verifier } from './create-verifier.ts'
import { type ForwardedCertificate, type ForwardedHeader, forwardedHeader } from './forwarded.ts'
import { VerifierRefusal } from './refusal.ts'
import { requiredScopes } from './scope.ts'

/** What a route asks of its callers. */
export interface RouteOptions<Kind extends CredentialKind = CredentialKind> {
  /** Scopes separated by spaces, of which the token or the certificate must have each; none unless given. */
  scope?: string | undefined
  /**
   * What it takes; tokens alone unless given. With both, a request that has an `Authorization` header is judged by that and by nothing else: a
   * certificate is no second try for a token that is refused.
   */
  credentials?: readonly Kind[]
  /**
   * The header that tells the client's certificate, for services behind a proxy that ends TLS. Without it such headers are ignored, whatever
   * they say; with it the certificate of the connection itself is, for it is the proxy's.
   */
  forwardedCertificate?: ForwardedCertificate
}

/** The part of a verifier that routes with these credentials need. */
export type VerifierBy<Kind extends CredentialKind> = Pick<
  Verifier,
  { token: 'verify'; certificate: 'verifyCertificate' }[Kind]
>

/** What a request brought, looked at only where it is needed. */
export interface Brought {
  /** @throws VerifierRefusal `request_malformed` */
  authorization(): string | null | undefined
  /** The certificate of its TLS connection. */
  connectionCertificate(): ClientCertificate | null | undefined
  /** All values of a header, named in lower case. */
  header(name: string): readonly string[]
}

/** Lets a request pass, and tells by what. */
export type Admission<Kind extends CredentialKind> = (brought: Brought) => Promise<AuthBy<Kind>>

/**
 * How a route lets requests pass.
 *
 * @throws TypeError when an option is wrong; the admission throws VerifierRefusal
 */
export function createAdmission<Kind extends CredentialKind>(
  verifier: VerifierBy<Kind>,
  options: RouteOptions<Kind>,
): Admission<Kind> {
  const { scope, credentials = ['token'], forwardedCertificate } = options
  requiredScopes(scope)
  const takes = { token: isListed('token', credentials), certificate: isListed('certificate', credentials) }
  if (credentials.length === 0 || credentials.some(kind => kind !== 'token' && kind !== 'certificate'))
    throw new TypeError('`credentials` must be "token", "certificate", or both.')
  const { verify, verifyCertificate } = verifier as Partial<Verifier>
  if ((takes.token && !verify) || (takes.certificate && !verifyCertificate))
    throw new TypeError('The verifier does not verify such credentials.')
  const forwarded = forwardedCertificate === undefined ? null : forwardedHeader(forwardedCertificate)

  async function admitted(brought: Brought): Promise<AuthBy<CredentialKind>> {
    const certificate = () => certificateOf(brought, forwarded)
    const authorization = takes.token ? brought.authorization() : null
    if (takes.token && (!takes.certificate || isThere(authorization)))
      return (verifier as Verifier).verify(bearerToken(authorization), { scope, certificate })
    const presented = await certificate()
    if (presented === null || presented === undefined)
      throw new VerifierRefusal(takes.token ? 'token_missing' : 'certificate_missing')
    return (verifier as Verifier).verifyCertificate(presented, { scope })
  }
  return admitted as Admission<Kind>
}

const isListed = (kind: CredentialKind, kinds: readonly string[]): boolean => kinds.includes(kind)

const isThere = (header: string | null | undefined): boolean => header !== null && header !== undefined

/** From the proxy's header where one is named, and then from nowhere else. */
const certificateOf = (brought: Brought, forwarded: ForwardedHeader | null) =>
  forwarded === null ? brought.connectionCertificate() : forwarded.read(brought.header(forwarded.name))
