import type { Certificate } from './certificate.ts'
import {
  constructed,
  DerError,
  type Element,
  inside,
  listIn,
  oidOf,
  primitive,
  readOne,
  tags,
} from './der.ts'
import { oids } from './oids.ts'

/** A GeneralName (RFC 5280 §4.2.1.6), as it is written: its form is its tag. */
export type GeneralName = Pick<Element, 'tag' | 'content'>

export const forms = {
  otherName: constructed(0),
  email: primitive(1),
  dns: primitive(2),
  x400: constructed(3),
  directory: constructed(4),
  ediParty: constructed(5),
  uri: primitive(6),
  ip: primitive(7),
  registeredId: primitive(8),
} as const

const known: ReadonlySet<number> = new Set(Object.values(forms))

const maxNames = 1000
const maxRelative = 64
const maxAttributes = 16

/**
 * All names that a certificate gives: the alternative ones, its subject, and the mail in the subject (RFC 5280 §4.2.1.10).
 *
 * @throws DerError also where a name is of no known form: whoever reads it otherwise would find one there
 */
export function namesOf({ subject, extensions }: Certificate): GeneralName[] {
  const names: GeneralName[] = []
  const alternative = extensions.get(oids.subjectAltName)?.value
  const elements = alternative && inside(readOne(alternative, tags.sequence))
  while (elements && !elements.isAtEnd()) {
    if (names.length === maxNames) throw new DerError('there are too many names')
    names.push(ofKnownForm(elements.any()))
  }
  const relative = relativeNames(readOne(subject, tags.sequence))
  if (relative.length > 0) names.push({ tag: forms.directory, content: subject })
  for (const attribute of relative.flatMap(each => listIn(each, tags.sequence, maxAttributes))) {
    const parts = inside(attribute)
    const type = oidOf(parts.take(tags.oid))
    const { content } = parts.any()
    parts.end()
    if (type === oids.emailAddress) names.push({ tag: forms.email, content })
  }
  return names
}

export function ofKnownForm(name: GeneralName): GeneralName {
  if (!known.has(name.tag)) throw new DerError('a name is of no known form')
  return name
}

/** The relative names of a directory name, the root's first. */
export const relativeNamesOf = ({ content }: GeneralName): Element[] =>
  relativeNames(readOne(content, tags.sequence))

const relativeNames = (name: Element): Element[] =>
  name.content.length === 0 ? [] : listIn(name, tags.set, maxRelative)

/** What is written in a name that is text. */
export const textOf = ({ content }: GeneralName): string => new TextDecoder('latin1').decode(content)
