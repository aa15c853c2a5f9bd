import type { Certificate, Extensions } from './certificate.ts'
import { constructed, DerError, type Element, inside, isSame, listIn, readOne, tags } from './der.ts'
import { forms, type GeneralName, namesOf, ofKnownForm, relativeNamesOf, textOf } from './general-names.ts'
import { oids } from './oids.ts'

/** What one authority says of the names of all below it (RFC 5280 §4.2.1.10). */
export interface NameConstraints {
  permitted: GeneralName[]
  excluded: GeneralName[]
}

const maxBases = 128

/** Null where there are none. @throws DerError where they cannot be read, or constrain nothing */
export function nameConstraints(extensions: Extensions): NameConstraints | null {
  const value = extensions.get(oids.nameConstraints)?.value
  if (!value) return null
  const fields = inside(readOne(value, tags.sequence))
  const [permitted, excluded] = [fields.maybe(constructed(0)), fields.maybe(constructed(1))]
  fields.end()
  if (permitted === null && excluded === null) throw new DerError('constraints constrain nothing')
  return { permitted: basesIn(permitted), excluded: basesIn(excluded) }
}

/** `minimum` and `maximum` have no use in certificates: nothing may follow a base. */
const basesIn = (trees: Element | null): GeneralName[] =>
  trees === null
    ? []
    : listIn(trees, tags.sequence, maxBases).map(tree => {
        const members = inside(tree)
        const base = readBase(members.any())
        members.end()
        return base
      })

const texts: ReadonlySet<number> = new Set([forms.email, forms.dns, forms.uri])

function readBase(base: Element): GeneralName {
  if (base.tag === forms.directory) relativeNamesOf(base)
  // An address, and its mask beside it.
  if (base.tag === forms.ip && base.content.length !== 8 && base.content.length !== 32)
    throw new DerError('an IP address has no such length')
  if (texts.has(base.tag) && !/^[ -~]*$/.test(textOf(base))) throw new DerError('a name is no plain ASCII')
  return ofKnownForm(base)
}

/**
 * Whether all names of a certificate are permitted, and none excluded, by every one above it (RFC 5280 §6.1.3 (b), (c)). Names of a form that
 * nobody constrains may be any; those of a constrained form that cannot be read or compared here are not allowed.
 */
export function areNamesAllowed(certificate: Certificate, above: readonly NameConstraints[]): boolean {
  if (above.length === 0) return true
  try {
    const names = namesOf(certificate)
    return above.every(constraints => names.every(name => isAllowed(name, constraints)))
  } catch (error) {
    if (error instanceof DerError) return false
    throw error
  }
}

function isAllowed(name: GeneralName, { permitted, excluded }: NameConstraints): boolean {
  const places = (bases: GeneralName[]) =>
    bases.filter(({ tag }) => tag === name.tag).map(base => placeOf(name, base))
  const amongPermitted = places(permitted)
  return (
    (amongPermitted.length === 0 || amongPermitted.includes('within')) &&
    places(excluded).every(place => place === 'outside')
  )
}

/** Where a name is, seen from a base of its form. */
type Place = 'within' | 'outside' | 'unclear'

function placeOf(name: GeneralName, base: GeneralName): Place {
  switch (name.tag) {
    case forms.uri:
      return placeOfUri(textOf(name), textOf(base).toLowerCase())
    case forms.dns:
      return placeOfDns(textOf(name).toLowerCase(), textOf(base).toLowerCase())
    case forms.directory:
      return placeOfDirectory(relativeNamesOf(name), relativeNamesOf(base))
    default:
      return 'unclear'
  }
}

/** Byte by byte. The same name can be written in many ways, so that only a shorter one is outside for certain. */
function placeOfDirectory(name: Element[], base: Element[]): Place {
  if (name.length < base.length) return 'outside'
  return base.every(({ bytes }, at) => isSame(bytes, name[at]?.bytes ?? bytes.subarray(1)))
    ? 'within'
    : 'unclear'
}

/** Scheme, user, host and port (RFC 3986 §3). */
const uri =
  /^[a-z][a-z0-9+.-]*:\/\/(?:[a-z0-9._~!$&'()*+,;=:%-]*@)?(?<host>[^/?#@:]*)(?::[0-9]*)?(?:[/?#][!-~]*)?$/i

/** Constraints are on the host, which has to be a name; the base is that host, or with a leading dot all below it. Of a SPIFFE ID it is the trust domain. */
function placeOfUri(name: string, base: string): Place {
  const host = uri.exec(name)?.groups?.host?.toLowerCase() ?? ''
  if (!isHost(host) || /^[0-9.]+$/.test(host)) return 'unclear'
  if (base === '') return 'within'
  if (base.startsWith('.')) return isHost(base.slice(1)) ? placedIf(host.endsWith(base)) : 'unclear'
  return isHost(base) ? placedIf(host === base) : 'unclear'
}

/** The base and all below it. With a leading dot, which the standard does not have for these, all below it alone, as everybody reads it. */
function placeOfDns(name: string, base: string): Place {
  const isWildcard = name.startsWith('*.')
  const host = isWildcard ? name.slice(2) : name
  if (!isHost(host)) return 'unclear'
  if (base === '') return 'within'
  const zone = base.startsWith('.') ? base.slice(1) : base
  if (!isHost(zone)) return 'unclear'
  if (name === base || name.endsWith(`.${zone}`)) return 'within'
  // Some that a wildcard stands for may be within, and others not.
  return isWildcard && zone.endsWith(`.${host}`) ? 'unclear' : 'outside'
}

const placedIf = (isWithin: boolean): Place => (isWithin ? 'within' : 'outside')

/** Labels of letters, digits, underscores and hyphens, which neither begin nor end with a hyphen; in lower case. */
const isHost = (text: string): boolean =>
  text
    .split('.')
    .every(label => /^[a-z0-9_-]+$/.test(label) && !label.startsWith('-') && !label.endsWith('-'))
