import { HallpassError } from '../../errors.ts'
import type { TokenRequest } from '../openapi.generated.d.ts'
import type { Role } from './errors.ts'

/** How a grant type carries its attestation (contract §4). */
export interface Grant {
  role: Role
  attestation: 'subject_token' | 'assertion' | 'client_assertion'
  /** The parameter that names the attestation's type, where there is one. */
  type: 'subject_token_type' | 'client_assertion_type' | null
  /** Whether the answer names `issued_token_type` (RFC 8693 §2.2.1). */
  exchanged: boolean
}

const grants: Record<string, Grant> = {
  'urn:ietf:params:oauth:grant-type:token-exchange': {
    role: 'subject',
    attestation: 'subject_token',
    type: 'subject_token_type',
    exchanged: true,
  },
  'urn:ietf:params:oauth:grant-type:jwt-bearer': {
    role: 'assertion',
    attestation: 'assertion',
    type: null,
    exchanged: false,
  },
  client_credentials: {
    role: 'client',
    attestation: 'client_assertion',
    type: 'client_assertion_type',
    exchanged: false,
  },
}

export const grantTypes = Object.keys(grants)

/** Parameters of standards that this broker knows and does not offer: to ignore them would be to grant something else than was asked. */
const notOffered = ['authorization_details', 'actor_token', 'actor_token_type', 'may_act']

/** The grant of a token request, before the rest of it is read. Throws `unsupported_grant_type` or `malformed`. */
export function grantOf(form: URLSearchParams): Grant {
  const types = form.getAll('grant_type').filter(type => type !== '')
  if (types.length !== 1) throw new HallpassError('malformed', 'grant_type is required, once.')
  const [type = ''] = types
  const grant = Object.hasOwn(grants, type) ? grants[type] : undefined
  if (!grant) throw new HallpassError('unsupported_grant_type', 'The grant type is not known.')
  for (const name of notOffered)
    if (form.get(name)) throw new HallpassError('malformed', `${name} is not offered by this version.`)
  // One proof of who asks: a second one would go unchecked.
  for (const other of Object.values(grants))
    if (other !== grant && form.get(other.attestation))
      throw new HallpassError('malformed', `${other.attestation} has no place in this grant.`)
  return grant
}

/** The attestation that the grant carries, and whether the caller says that it is a JWT-SVID. Throws `malformed`. */
export function attestationOf(
  form: TokenRequest,
  grant: Grant,
): { token: string; expect: 'jwt-svid' | undefined } {
  const token = form[grant.attestation]
  if (token === undefined) throw new HallpassError('malformed', `${grant.attestation} is required.`)
  const type = grant.type && form[grant.type]
  if (grant.type && type === undefined) throw new HallpassError('malformed', `${grant.type} is required.`)
  return { token, expect: type?.endsWith(':jwt-spiffe') ? 'jwt-svid' : undefined }
}

/** Whether the grant is of a client that brings no assertion, and so proves who it is by its certificate. */
export const isByCertificate = (form: TokenRequest, { role }: Grant): boolean =>
  role === 'client' && form.client_assertion === undefined && form.client_assertion_type === undefined

/** An absolute URI (RFC 3986 §4.3): a scheme, and no fragment. */
const absoluteUri = /^[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+$/

/** `audience` and `resource` together, each once. Throws `invalid_target` (RFC 8707 §2). */
export function audiencesOf({ audience = [], resource = [] }: TokenRequest): string[] {
  for (const uri of resource)
    if (!absoluteUri.test(uri) || !URL.canParse(uri))
      throw new HallpassError('invalid_target', 'resource is not an absolute URI without a fragment.')
  return [...new Set([...audience, ...resource])]
}

/** The scopes, each once, in the order asked. */
export const scopesOf = (scope: string): string[] => [...new Set(scope.split(' '))]
