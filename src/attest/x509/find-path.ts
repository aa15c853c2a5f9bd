import type { Certificate } from './certificate.ts'
import { sameName } from './names.ts'
import { isSignedByIssuer, type PathFault, type PathInputs, validatePath } from './path.ts'

export interface FoundPath {
  /** From the certificate that the anchor signed to the one that was asked about. */
  path: Certificate[]
  anchor: Certificate
}

interface Presented extends Pick<PathInputs, 'now' | 'clockSkew' | 'policies'> {
  certificate: Certificate
  /** In any order, with any others among them. */
  intermediates: readonly Certificate[]
  anchors: readonly Certificate[]
}

/** Certificates of a path, without the anchor. */
const maxPath = 8
/** How much work a presented chain may make: certificates that sign one another have more paths than anybody could walk. */
const maxSignatures = 32
const maxSteps = 256
const maxValidations = 16

/**
 * A valid path from a certificate to an anchor (RFC 4158: built from the certificate on, validated from the anchor on), or why the first
 * complete one is not valid. `none`: the certificate leads to no anchor.
 */
export function findPath(presented: Presented): FoundPath | { fault: PathFault | 'none' } {
  const { certificate, intermediates, anchors, ...inputs } = presented
  const isSigned = rememberedSignatures()
  let steps = 0
  let validations = 0
  let fault: PathFault | 'none' = 'none'

  /** `below`: the path so far, from its first to the certificate that is asked about. */
  function walk(below: readonly Certificate[]): FoundPath | null {
    const [lowest] = below
    steps += 1
    if (!lowest || steps > maxSteps) return null
    for (const anchor of likelyFirst(anchors, lowest)) {
      if (!isSigned(lowest, anchor)) continue
      validations += 1
      if (validations > maxValidations) return null
      const verdict = validatePath({ ...inputs, path: below, anchor, isSigned })
      if (verdict.fault === null) return { path: [...below], anchor }
      if (fault === 'none') fault = verdict.fault
    }
    if (below.length === maxPath) return null
    for (const next of likelyFirst(intermediates, lowest)) {
      // Whom the path went through already, under whatever certificate, it need not go through again (RFC 4158 §5.2).
      if (below.some(passed => isSameEntity(passed, next)) || !isSigned(lowest, next)) continue
      const found = walk([next, ...below])
      if (found) return found
    }
    return null
  }

  return walk([certificate]) ?? { fault }
}

/** Those whose name is the issuer's; first those whose key is the one that the certificate says. */
function likelyFirst(candidates: readonly Certificate[], { issuer, extensions }: Certificate): Certificate[] {
  const named = candidates.filter(({ subject }) => sameName(subject, issuer))
  const keyId = extensions.authorityKeyIdentifier
  const isLikely = ({ extensions: { subjectKeyIdentifier: own } }: Certificate) =>
    keyId !== null && own !== null && keyId.equals(own)
  return [...named.filter(isLikely), ...named.filter(candidate => !isLikely(candidate))]
}

const isSameEntity = (one: Certificate, other: Certificate): boolean =>
  sameName(one.subject, other.subject) && one.publicKeyInfo.equals(other.publicKeyInfo)

/** Each pair is verified once; past the bound, nothing is signed by anybody. */
function rememberedSignatures(): (certificate: Certificate, issuer: Certificate) => boolean {
  const known = new Map<Certificate, Map<Certificate, boolean>>()
  let left = maxSignatures
  return (certificate, issuer) => {
    const of = known.get(certificate) ?? new Map<Certificate, boolean>()
    known.set(certificate, of)
    const remembered = of.get(issuer)
    if (remembered !== undefined) return remembered
    left -= 1
    const verdict = left >= 0 && isSignedByIssuer(certificate, issuer)
    of.set(issuer, verdict)
    return verdict
  }
}
