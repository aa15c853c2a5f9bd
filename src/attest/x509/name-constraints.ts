import type { Certificate } from './certificate.ts'
import type { NameConstraints } from './extensions.ts'
import { type GeneralName, isWithin } from './names.ts'

/** What names the certificates further down may have: those of every certificate above (RFC 5280 §6.1.2 (b), (c)). */
export type NamingState = readonly NameConstraints[]

/**
 * Whether all names of a certificate are permitted and none is excluded (RFC 5280 §6.1.3 (b), (c)). Where a form is constrained, a name of
 * that form that cannot be compared is refused (§4.2.1.10).
 */
export function areNamesAllowed(certificate: Certificate, state: NamingState): boolean {
  if (state.length === 0) return true
  const names = namesOf(certificate)
  return state.every(({ permitted, excluded }) =>
    names.every(name => {
      const bases = permitted.filter(base => isSameForm(name, base))
      if (bases.length > 0 && !bases.some(base => compare(name, base) === 'within')) return false
      return excluded.every(base => !isSameForm(name, base) || compare(name, base) === 'outside')
    }),
  )
}

/** Its subject, and what the subject says of mail where no alternative name does (RFC 5280 §4.2.1.10). */
function namesOf({ subject, extensions }: Certificate): GeneralName[] {
  const names = extensions.subjectAltName ?? []
  const hasEmail = names.some(({ form }) => form === 'email')
  return [
    ...names,
    ...(subject.rdns.length > 0 ? [{ form: 'directory', value: subject } as const] : []),
    ...(hasEmail ? [] : subject.emails.map(value => ({ form: 'email', value }) as const)),
  ]
}

const isSameForm = (name: GeneralName, base: GeneralName): boolean =>
  name.form === 'other' ? base.form === 'other' && name.tag === base.tag : name.form === base.form

type Place = 'within' | 'outside' | 'unclear'

function compare(name: GeneralName, base: GeneralName): Place {
  if (name.form === 'directory' && base.form === 'directory')
    return isWithin(name.value, base.value) ? 'within' : 'outside'
  if (name.form === 'ip' && base.form === 'ip') return compareAddress(name.value, base.value)
  if (name.form === 'dns' && base.form === 'dns') return compareDns(name.value, base.value)
  if (name.form === 'email' && base.form === 'email') return compareEmail(name.value, base.value)
  if (name.form === 'uri' && base.form === 'uri') return compareUri(name.value, base.value)
  return 'unclear'
}

const label = '[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?'
const hostPattern = new RegExp(`^${label}(?:\\.${label})*$`)
const isHost = (host: string): boolean => hostPattern.test(host)
const isIpv4 = (host: string): boolean => /^[0-9.]+$/.test(host)

/** The host itself and all below it; none, everything. A leading dot, though not in the standard for DNS, means below it alone. */
function compareDns(name: string, base: string): Place {
  const [host, zone] = [name.toLowerCase(), base.toLowerCase()]
  const isWildcard = host.startsWith('*.')
  const plain = isWildcard ? host.slice(2) : host
  if (!isHost(plain)) return 'unclear'
  if (zone === '') return 'within'
  const bare = zone.replace(/^\./, '')
  if (!isHost(bare)) return 'unclear'
  if (isBelow(host, bare) || (host === bare && bare === zone)) return 'within'
  // A wildcard stands for names on both sides.
  return isWildcard && isBelow(bare, plain) ? 'unclear' : 'outside'
}

/** A mailbox, all of a host's, or with a leading dot those of the hosts below (RFC 5280 §4.2.1.10). */
function compareEmail(name: string, base: string): Place {
  const [, local = '', domain = ''] = /^([^@]+)@([^@]+)$/.exec(name) ?? []
  const host = domain.toLowerCase()
  if (local === '' || !isHost(host)) return 'unclear'
  if (!base.includes('@')) return compareHost(host, base)
  const [, baseLocal = '', baseDomain = ''] = /^([^@]+)@([^@]+)$/.exec(base) ?? []
  if (!isHost(baseDomain.toLowerCase())) return 'unclear'
  if (host !== baseDomain.toLowerCase()) return 'outside'
  // Who minds the case of a local part, its own host alone knows.
  if (local === baseLocal) return 'within'
  return local.toLowerCase() === baseLocal.toLowerCase() ? 'unclear' : 'outside'
}

/** The host of a URI's authority, which must be there and be a name (RFC 5280 §4.2.1.10); of a SPIFFE ID, the trust domain. */
function compareUri(name: string, base: string): Place {
  const [, authority = ''] = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(name) ?? []
  const host = authority
    .replace(/^[^@]*@/, '')
    .replace(/:\d*$/, '')
    .toLowerCase()
  if (!isHost(host) || isIpv4(host)) return 'unclear'
  return compareHost(host, base)
}

/** The host, or with a leading dot the hosts below it; none, every host. */
function compareHost(host: string, base: string): Place {
  const zone = base.toLowerCase()
  if (zone === '') return 'within'
  const bare = zone.replace(/^\./, '')
  if (!isHost(bare)) return 'unclear'
  const isIn = bare === zone ? host === bare : isBelow(host, bare)
  return isIn ? 'within' : 'outside'
}

const isBelow = (host: string, zone: string): boolean => host.endsWith(`.${zone}`)

/** Address and mask side by side (RFC 5280 §4.2.1.10); the mask has its ones first (RFC 4632 §3.1). */
function compareAddress(address: Buffer, base: Buffer): Place {
  const size = base.length / 2
  const mask = base.subarray(size)
  const bits = [...mask].map(byte => byte.toString(2).padStart(8, '0')).join('')
  if (!/^1*0*$/.test(bits)) return 'unclear'
  if (address.length !== size) return 'outside'
  const isIn = address.every((byte, place) => (byte & mask[place]!) === (base[place]! & mask[place]!))
  return isIn ? 'within' : 'outside'
}
