import { refuse } from './refusal.ts'
import { isJsonObject, type JsonObject, type JsonValue, numberText } from './strict-json.ts'

export interface FlatClaims {
  /** Without a prototype: a claim that is absent is absent, whatever its name. */
  tags: Record<string, string>
  groups: string[]
}

// Joined names repeat their beginnings: without bounds a small token would become many megabytes.
const maxNameLength = 512
const maxTags = 256
const maxGroups = 512

/**
 * Attested claims as policy sees them (contract §2). Nested members are joined by dots; strings stay, numbers and booleans
 * become their JSON text as written; an array of strings becomes groups, `<trust>/<claim>/<value>`, and so does the scalar
 * of `groupsClaim`. Whatever has no faithful form (null, empty objects, other arrays) is left out, so that a policy that
 * asks for it does not find it; its name is still taken.
 *
 * @throws HallpassError `attestation_invalid`: claims_collide, claims_too_many.
 */
export function flattenClaims(claims: JsonObject, trust: string, groupsClaim: string | null): FlatClaims {
  const tags = new Map<string, string>()
  const groups = new Set<string>()
  const names = new Set<string>()

  const addLeaf = (name: string, value: JsonValue) => {
    if (names.has(name)) throw refuse('claims_collide')
    names.add(name)
    if (Array.isArray(value)) {
      if (value.every(item => typeof item === 'string')) {
        for (const item of value) groups.add(groupName(trust, name, item))
      }
    } else {
      const text = scalarText(value)
      if (text === null) return
      if (name === groupsClaim) groups.add(groupName(trust, name, text))
      else tags.set(name, text)
    }
  }

  const walk = (object: JsonObject, prefix: string) => {
    for (const [member, value] of Object.entries(object)) {
      const name = prefix + member
      if (name.length > maxNameLength || names.size >= maxTags) throw refuse('claims_too_many')
      if (isJsonObject(value) && Object.keys(value).length > 0) walk(value, `${name}.`)
      else addLeaf(name, value)
      if (groups.size > maxGroups) throw refuse('claims_too_many')
    }
  }

  walk(claims, '')
  // fromEntries makes own properties even of names such as __proto__.
  const record: Record<string, string> = Object.setPrototypeOf(Object.fromEntries(tags), null)
  return { tags: record, groups: [...groups] }
}

/** `<trust>/<claim>/<value>`: no two triples share a name. */
function groupName(trust: string, claim: string, value: string): string {
  return [trust, claim, value].map(encodePart).join('/')
}

function encodePart(part: string): string {
  return part.replace(/[%/]/g, char => (char === '%' ? '%25' : '%2F'))
}

function scalarText(value: JsonValue): string | null {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return String(value)
  return numberText(value)
}
