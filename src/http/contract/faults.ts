import type { ErrorObject } from 'ajv'

/** One place in a body that is wrong. */
export interface Fault {
  /** A JSON Pointer (RFC 6901); `""` is the body itself. */
  path: string
  message: string
}

const maxFaults = 20
const maxPath = 256

/** These say only that something below them is wrong; what is wrong stands beside them. */
const summaries = new Set(['anyOf', 'oneOf', 'propertyNames'])

/** What a schema found, told by place: each place once, 20 of them at most, none with a value of the body. */
export const faults = (errors: ErrorObject[]): Fault[] => {
  const byPath = new Map<string, ErrorObject[]>()
  for (const error of errors) {
    if (summaries.has(error.keyword)) continue
    const path = pathOf(error)
    const sofar = byPath.get(path)
    if (sofar) sofar.push(error)
    else if (byPath.size < maxFaults) byPath.set(path, [error])
  }
  return [...byPath].map(([path, found]) => ({ path: shorten(path), message: describe(found) }))
}

const pathOf = ({ instancePath, keyword, params, propertyName }: ErrorObject): string => {
  if (keyword === 'required' || keyword === 'dependentRequired')
    return `${instancePath}/${escapeName(String(params.missingProperty))}`
  if (keyword === 'additionalProperties')
    return `${instancePath}/${escapeName(String(params.additionalProperty))}`
  // Set where the name itself is wrong.
  return propertyName === undefined ? instancePath : `${instancePath}/${escapeName(propertyName)}`
}

/** RFC 6901 §3. */
const escapeName = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** A member's name can be as long as the body. Cut between characters, so that no surrogate is left alone. */
const shorten = (path: string): string =>
  path.length > maxPath ? `${path.slice(0, maxPath).toWellFormed()}…` : path

const describe = (errors: ErrorObject[]): string => {
  const types = errors.flatMap(({ keyword, params }) => (keyword === 'type' ? params.type : []))
  const others = errors.filter(({ keyword }) => keyword !== 'type').map(sentence)
  const type = types.length > 0 ? [`must be ${[...new Set(types.map(String))].join(' or ')}`] : []
  return [...new Set([...others, ...type])].join('; ')
}

const sentence = ({ keyword, params, message }: ErrorObject): string => {
  switch (keyword) {
    case 'required':
    case 'dependentRequired':
      return 'is required'
    case 'additionalProperties':
      return 'is not known'
    case 'const':
      return `must be ${JSON.stringify(params.allowedValue)}`
    case 'enum':
      return `must be one of ${(params.allowedValues as unknown[]).map(value => JSON.stringify(value)).join(', ')}`
    default:
      return message ?? 'is not valid'
  }
}
