import type { ValidateFunction } from 'ajv/dist/2020.js'
import { HallpassError } from '../../errors.ts'
import type { Schema } from './document.ts'
import type { Compile } from './schemas.ts'

/** What a set of parameters may hold, and how it is read. */
export interface ParameterRules {
  /** What each is called where it is wrong: `query parameter`, `parameter`. */
  noun: string
  /** An object's schema: one member a parameter; those with an array may repeat. */
  schema: Schema
  /** What to do with names that the schema does not have. */
  unknown: 'refuse' | 'ignore'
  /** Whether a parameter without a value counts as absent (RFC 6749 §3.2). */
  emptyIsAbsent: boolean
}

/**
 * Makes a reader of query or form parameters. It answers with integers as numbers, repeatable parameters as arrays, and
 * defaults filled in.
 * @throws HallpassError `malformed` for a parameter that is unknown, repeated, missing or malformed. The message holds names of
 *   the contract only, in the characters of RFC 6749 §5.2, and no values.
 */
export const parameterReader = (rules: ParameterRules, compile: Compile) => {
  const validate = compile(rules.schema)
  const properties = rules.schema.properties as Record<string, Schema>
  return (parameters: URLSearchParams): unknown => {
    const values = Object.fromEntries(read(parameters, properties, rules))
    if (!validate(values)) throw malformed(`${rules.noun} ${describe(validate)}`)
    return values
  }
}

const read = (parameters: URLSearchParams, properties: Record<string, Schema>, rules: ParameterRules) => {
  const values = new Map<string, string | number | string[]>()
  const seen = new Set<string>()
  for (const [name, text] of parameters) {
    const schema = Object.hasOwn(properties, name) ? properties[name] : undefined
    if (schema === undefined && rules.unknown === 'refuse') throw malformed(`${rules.noun} is not known`)
    const repeats = schema?.type === 'array'
    // One that is ignored may not repeat either: RFC 6749 §3.2 makes no difference.
    if (seen.has(name) && !repeats) throw malformed(`${rules.noun} ${schema ? `${name} ` : ''}is repeated`)
    seen.add(name)
    if (schema === undefined || (text === '' && rules.emptyIsAbsent)) continue
    if (text.includes('\0')) throw malformed(`${rules.noun} ${name} is malformed`)
    const sofar = values.get(name)
    if (Array.isArray(sofar)) sofar.push(text)
    else if (repeats) values.set(name, [text])
    else values.set(name, schema.type === 'integer' ? integer(text) : text)
  }
  return values
}

/** Left as text where it is no integer in its one spelling, for the schema to refuse. */
const integer = (text: string): number | string => (/^(0|[1-9][0-9]{0,8})$/.test(text) ? Number(text) : text)

const describe = ({ errors }: ValidateFunction): string => {
  const missing = errors?.find(({ keyword }) => keyword === 'required')?.params.missingProperty
  if (missing !== undefined) return `${String(missing)} is missing`
  // The first part of the pointer is a parameter's name, from the contract: unknown ones never come this far.
  return `${errors?.[0]?.instancePath.split('/')[1] ?? ''} is malformed`
}

const malformed = (message: string): HallpassError =>
  new HallpassError('malformed', `${message.charAt(0).toUpperCase()}${message.slice(1)}.`)
