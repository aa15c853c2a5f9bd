import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { fullFormats } from 'ajv-formats/dist/formats.js'
import type { ContractDocument, Schema } from './document.ts'

/** Compiles a schema of the document, or one that refers to its `#/components/schemas`. */
export type Compile = (schema: Schema) => ValidateFunction

const base = 'openapi.yaml'

export const schemaCompiler = ({ schemas }: Pick<ContractDocument, 'schemas'>): Compile => {
  const ajv = new Ajv2020({
    allErrors: true,
    allowUnionTypes: true,
    useDefaults: true,
    // Members are what the body itself has, never what Object.prototype lends it.
    ownProperties: true,
    formats: {
      'date-time': isInstant,
      uri: fullFormats.uri,
      'uri-reference': fullFormats['uri-reference'],
    },
  })
  ajv.addKeyword({ keyword: 'example' })
  ajv.addSchema({ $id: base, $defs: relocate(schemas) })
  return schema => ajv.compile(relocate(schema) as Schema)
}

/** RFC 3339 §5.6, but for leap seconds and for spellings with a space, which are no Date. */
const isInstant = (text: string): boolean =>
  /^\d{4}-\d\d-\d\dT/i.test(text) &&
  (fullFormats['date-time'] as { validate: (text: string) => boolean }).validate(text) &&
  !Number.isNaN(Date.parse(text))

/** With references to where the compiler keeps what OpenAPI has under `components`. */
const relocate = (node: unknown): unknown => {
  if (Array.isArray(node)) return node.map(relocate)
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [
      key,
      key === '$ref' ? String(value).replace('#/components/schemas/', `${base}#/$defs/`) : relocate(value),
    ]),
  )
}
