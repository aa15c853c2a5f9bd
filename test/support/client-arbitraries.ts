import fc, { type Arbitrary } from 'fast-check'
import type { ContractDocument, Schema } from '../../src/http/contract/document.ts'
import { schemaCompiler } from '../../src/http/contract/schemas.ts'

/** Values that have what a schema of openapi.yaml asks for. For the keywords that openapi.yaml uses in requests. */
export const valuesOf = (schema: Schema, document: ContractDocument): Arbitrary<unknown> => {
  const {
    $ref,
    enum: listed,
    anyOf,
    type,
    pattern,
    format,
  } = schema as {
    $ref?: string
    enum?: unknown[]
    anyOf?: Schema[]
    type?: string | string[]
    pattern?: string
    format?: string
  }
  if ($ref !== undefined) return valuesOf(document.schemas[$ref.split('/').at(-1) ?? ''] ?? {}, document)
  if ('const' in schema) return fc.constant(schema.const)
  if (listed !== undefined) return fc.constantFrom(...listed)
  if (anyOf !== undefined) return fc.oneof(...anyOf.map(branch => valuesOf(branch, document)))
  if (Array.isArray(type)) return fc.oneof(...type.map(one => valuesOf({ ...schema, type: one }, document)))
  switch (type) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'integer':
      return fc.integer({ min: number(schema, 'minimum', 0), max: number(schema, 'maximum', 2 ** 31 - 1) })
    case 'array':
      return fc.array(valuesOf(schema.items as Schema, document), {
        minLength: number(schema, 'minItems', 0),
        maxLength: Math.min(number(schema, 'maxItems', 8), 8),
      })
    case 'object':
      return objects(schema, document)
    default:
      if (format === 'date-time') return instants
      if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern), { maxLength: 64 })
      return texts(number(schema, 'minLength', 0), Math.min(number(schema, 'maxLength', 64), 64))
  }
}

const number = (schema: Schema, keyword: string, otherwise: number): number =>
  typeof schema[keyword] === 'number' ? schema[keyword] : otherwise

/** Any script, and what SQL, HTML, shells, paths and headers would trip over; no U+0000, no lone surrogates. */
const texts = (minLength: number, maxLength: number): Arbitrary<string> =>
  fc.oneof(
    fc
      .string({ minLength, maxLength, unit: 'grapheme' })
      .filter(text => text.isWellFormed() && !text.includes('\0')),
    fc.constantFrom(...tricky).filter(text => text.length >= minLength && [...text].length <= maxLength),
  )

export const tricky = [
  "'; DROP TABLE tasks; --",
  '%_\\',
  '" or ""="',
  '../../etc/passwd',
  '<script>alert(1)</script>',
  'line\r\nSet-Cookie: a=b',
  '\u202eright to left',
  'e\u0301 \u00e9 \ufb01 \u{1f468}\u200d\u{1f469}\u200d\u{1f467}',
  '\ufeff',
  '\u0001\u001f\u007f\u0085\u2028',
  '$1 {0} %s $(id) `id`',
  'constructor',
  'null',
]

const instants = fc
  .date({ min: new Date('1970-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
  .map(date => date.toISOString())

const objects = (schema: Schema, document: ContractDocument): Arbitrary<unknown> => {
  const {
    properties,
    required = [],
    propertyNames,
    additionalProperties,
  } = schema as {
    properties?: Record<string, Schema>
    required?: string[]
    propertyNames?: Schema
    additionalProperties?: Schema | boolean
  }
  if (properties === undefined && typeof additionalProperties === 'object') {
    const names = valuesOf(propertyNames ?? { type: 'string' }, document) as Arbitrary<string>
    const allowed = names.filter(name => name !== '__proto__')
    return fc.dictionary(allowed, valuesOf(additionalProperties, document), {
      maxKeys: 8,
      noNullPrototype: true,
    })
  }
  const members = Object.entries(properties ?? {}).map(([name, member]) => [name, valuesOf(member, document)])
  const records = fc.record(Object.fromEntries(members) as Record<string, Arbitrary<unknown>>, {
    requiredKeys: required,
    noNullPrototype: true,
  })
  // Which members go together is for the schema itself to say.
  return 'dependentRequired' in schema ? records.filter(schemaCompiler(document)(schema)) : records
}
