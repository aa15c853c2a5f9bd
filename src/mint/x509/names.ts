import { isIP } from 'node:net'
import { oids } from '../../der/oids.ts'
import { primitive } from '../../der/tags.ts'
import { element, oid, sequence, set, utf8String } from '../../der/write.ts'

/** GeneralName (RFC 5280 §4.2.1.6): uniformResourceIdentifier. Throws RangeError for what is not visible ASCII. */
export const uriName = (uri: string): Buffer => element(primitive(6), visible(uri))

/** GeneralName: dNSName. Throws RangeError for what is not visible ASCII. */
export const dnsName = (name: string): Buffer => element(primitive(2), visible(name))

/** GeneralName: iPAddress, four or sixteen bytes. Throws RangeError for what is no address. */
export const ipName = (address: string): Buffer => element(primitive(7), addressBytes(address))

const visibleAscii = /^[\x21-\x7e]+$/

/** IA5String without blanks and controls. Cut to a byte, another character would pass for one of these: it is refused. */
function visible(text: string): Buffer {
  if (!visibleAscii.test(text))
    throw new RangeError('a name is empty, or has a character that names have not')
  return Buffer.from(text, 'latin1')
}

function addressBytes(address: string): Buffer {
  const version = address.includes('%') ? 0 : isIP(address)
  if (version === 4) return Buffer.from(address.split('.').map(Number))
  if (version !== 6) throw new RangeError('an IP address is none')
  // As the URL standard writes it: hexadecimal throughout, one :: at most.
  const [left = '', right] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const [head, tail] = [left, right ?? ''].map(half => (half === '' ? [] : half.split(':')))
  const zeros = Array.from({ length: 8 - (head?.length ?? 0) - (tail?.length ?? 0) }, () => '0')
  const groups = [...(head ?? []), ...zeros, ...(tail ?? [])]
  return Buffer.from(groups.map(group => group.padStart(4, '0')).join(''), 'hex')
}

/** Name (RFC 5280 §4.1.2.4): organisation and common name. */
export const distinguishedName = (commonName: string): Buffer =>
  sequence(attribute(oids.organizationName, 'Hallpass'), attribute(oids.commonName, commonName))

const attribute = (type: string, value: string): Buffer => set(sequence(oid(type), utf8String(value)))
