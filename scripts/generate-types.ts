import { writeFileSync } from 'node:fs'
import { compile } from 'json-schema-to-typescript'
import { type Operation, readContract, type Schema } from '../src/http/contract/document.ts'

/**
 * `npm run generate`: src/http/openapi.generated.d.ts from openapi.yaml: a type for every schema, and by operation the types of
 * bodies, forms and queries. Only ever imported as types, so that running needs no generation.
 */
const target = new URL('../src/http/openapi.generated.d.ts', import.meta.url)
const formType = 'application/x-www-form-urlencoded'

/** What the library adds to every comment: that the schemas were together in one document. */
const provenance = /(\n \* ?)*\n \* This interface was referenced by `Contract`.*?\*\//gs
const emptyRoot = /export interface Contract \{[^}]*\}\n/

const generate = async (): Promise<string> => {
  const { operations, schemas } = readContract()
  const withQuery = operations.filter(operation => queryOf(operation).length > 0)
  const queries = withQuery.map((operation): [string, Schema] => [
    queryName(operation),
    querySchema(operation),
  ])
  const root = { definitions: localRefs({ ...schemas, ...Object.fromEntries(queries) }), title: 'Contract' }
  const types = await compile(root as Parameters<typeof compile>[0], 'Contract', {
    bannerComment: '// Generated from openapi.yaml by `npm run generate`. Not to be edited.',
    // Forms may have more, which the door drops.
    additionalProperties: false,
    unreachableDefinitions: true,
    // Tuples for every bounded array help nobody.
    ignoreMinAndMaxItems: true,
    format: false,
  })
  return [
    types.replaceAll(provenance, '\n */').replace(emptyRoot, ''),
    byOperation('Bodies', operations, ({ body }) =>
      body && body.mediaType !== formType ? refName(body.schema) : null,
    ),
    byOperation('Forms', operations, ({ body }) =>
      body?.mediaType === formType ? refName(body.schema) : null,
    ),
    byOperation('Queries', operations, operation =>
      withQuery.includes(operation) ? queryName(operation) : null,
    ),
  ].join('\n')
}

const queryOf = ({ parameters }: Operation) => parameters.filter(({ in: place }) => place === 'query')

const queryName = ({ operationId }: Operation): string =>
  `${operationId.charAt(0).toUpperCase()}${operationId.slice(1)}Query`

/** As the door hands it on: what has a default is always there. */
const querySchema = (operation: Operation): Schema => ({
  type: 'object',
  additionalProperties: false,
  properties: Object.fromEntries(queryOf(operation).map(({ name, schema }) => [name, schema])),
  required: queryOf(operation)
    .filter(({ required, schema }) => required || Object.hasOwn(schema, 'default'))
    .map(({ name }) => name),
})

const refName = ({ $ref }: Schema): string => String($ref).split('/').at(-1) ?? ''

const byOperation = (
  name: string,
  operations: Operation[],
  type: (operation: Operation) => string | null,
): string => {
  const members = operations.flatMap(operation => {
    const its = type(operation)
    return its === null ? [] : [`  ${operation.operationId}: ${its}\n`]
  })
  return `/** By operation. */\nexport interface ${name} {\n${members.join('')}}\n`
}

/** With references to `definitions`, and without the descriptions beside them: those would make each use a type of its own. */
const localRefs = (node: unknown): unknown => {
  if (Array.isArray(node)) return node.map(localRefs)
  if (typeof node !== 'object' || node === null) return node
  if ('$ref' in node) return { $ref: String(node.$ref).replace('#/components/schemas/', '#/definitions/') }
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, localRefs(value)]))
}

writeFileSync(target, await generate())
