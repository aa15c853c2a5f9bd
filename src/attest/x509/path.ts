import { type Certificate, isSelfIssued } from './certificate.ts'
import { type NameConstraints, usages } from './extensions.ts'
import { areNamesAllowed } from './name-constraints.ts'
import { sameName } from './names.ts'
import { anyPolicies, createPolicies, type PolicySettings } from './policies.ts'
import { isSignedBy } from './signature.ts'

/** Why a path is refused. */
export type PathFault =
  | 'signature'
  | 'expired'
  | 'not_yet_valid'
  | 'name_chaining'
  | 'name_constraints'
  | 'policies'
  | 'critical_extension'
  | 'signer'
  | 'path_length'

export interface PathInputs {
  /** Certificates from the one that the anchor signed to the one that is validated; at least one. */
  path: readonly Certificate[]
  anchor: Certificate
  /** Milliseconds since the epoch. */
  now: number
  /** Milliseconds that the authority's clock may be ahead of ours. */
  clockSkew?: number
  policies?: PolicySettings
  /** How signatures are verified: who tries many paths remembers them. */
  isSigned?: (certificate: Certificate, issuer: Certificate) => boolean
}

/** The fault, or null for a path that is valid, with the policies that it is valid for. */
export type PathVerdict = { fault: PathFault } | { fault: null; policies: ReadonlySet<string> }

export const isSignedByIssuer = (certificate: Certificate, { publicKey }: Certificate): boolean =>
  publicKey !== null && isSignedBy(certificate, publicKey)

/**
 * Path validation (RFC 5280 §6.1, its policies by RFC 9618). What the anchor's own certificate constrains holds for the path (RFC 5937
 * §3), and it is valid no longer than it says. Revocation is not looked at: whom an authority no longer vouches for is for it to say by
 * not renewing.
 */
export function validatePath(inputs: PathInputs): PathVerdict {
  const { path, anchor, now, clockSkew = 0, isSigned = isSignedByIssuer } = inputs
  const { basicConstraints, nameConstraints } = anchor.extensions
  const policies = createPolicies(settingsAt(anchor, inputs.policies ?? anyPolicies), path.length)
  const naming: NameConstraints[] = nameConstraints ? [nameConstraints] : []
  let pathLength = basicConstraints?.pathLength ?? path.length
  let issuer = anchor
  const anchorFault = timeFault(anchor, now, clockSkew) ?? signerFault(anchor)
  if (anchorFault) return { fault: anchorFault }
  if (anchor.extensions.hasUnknownCritical) return { fault: 'critical_extension' }

  for (const [place, certificate] of path.entries()) {
    const isLast = place === path.length - 1
    const { extensions } = certificate
    // §6.1.3 (a)
    if (!sameName(certificate.issuer, issuer.subject)) return { fault: 'name_chaining' }
    if (!isSigned(certificate, issuer)) return { fault: 'signature' }
    const time = timeFault(certificate, now, clockSkew)
    if (time) return { fault: time }
    // §6.1.3 (b), (c): a certificate that renews an authority's own stays within what that may sign.
    if ((isLast || !isSelfIssued(certificate)) && !areNamesAllowed(certificate, naming))
      return { fault: 'name_constraints' }
    // §6.1.3 (d) to (f)
    if (!policies.check(certificate, isLast)) return { fault: 'policies' }
    // §6.1.4 (o), §6.1.5 (f)
    if (extensions.hasUnknownCritical) return { fault: 'critical_extension' }
    if (isLast) break

    // §6.1.4 (a), (b), (h) to (j)
    if (!policies.goOn(certificate)) return { fault: 'policies' }
    // §6.1.4 (g)
    if (extensions.nameConstraints) naming.push(extensions.nameConstraints)
    // §6.1.4 (k), (n)
    const signer = signerFault(certificate)
    if (signer) return { fault: signer }
    // §6.1.4 (l), (m)
    if (!isSelfIssued(certificate)) {
      if (pathLength === 0) return { fault: 'path_length' }
      pathLength -= 1
    }
    pathLength = Math.min(pathLength, extensions.basicConstraints?.pathLength ?? pathLength)
    issuer = certificate
  }

  const last = path.at(-1)
  const constrained = last ? policies.wrapUp(last) : null
  return constrained ? { fault: null, policies: constrained } : { fault: 'policies' }
}

/** §6.1.3 (a) (2), both ends inclusive. The clock that dated it may be ahead of ours; past its end nothing is accepted. */
export function timeFault(
  { notBefore, notAfter }: Certificate,
  now: number,
  clockSkew: number,
): 'expired' | 'not_yet_valid' | null {
  if (now > notAfter) return 'expired'
  return now < notBefore - clockSkew ? 'not_yet_valid' : null
}

/** §6.1.4 (k), (n). */
export function signerFault({ extensions: { basicConstraints, keyUsage } }: Certificate): 'signer' | null {
  return basicConstraints?.ca && (keyUsage?.has(usages.keyCertSign) ?? true) ? null : 'signer'
}

/** RFC 5937 §3: an anchor may ask for more than whoever validates. */
function settingsAt({ extensions }: Certificate, asked: PolicySettings): PolicySettings {
  const { policyConstraints, inhibitAnyPolicy } = extensions
  return {
    policies: asked.policies,
    explicitPolicy: asked.explicitPolicy || typeof policyConstraints?.requireExplicitPolicy === 'number',
    inhibitPolicyMapping:
      asked.inhibitPolicyMapping || typeof policyConstraints?.inhibitPolicyMapping === 'number',
    inhibitAnyPolicy: asked.inhibitAnyPolicy || inhibitAnyPolicy !== null,
  }
}
