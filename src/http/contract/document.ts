import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

/** A JSON Schema (2020-12), as OpenAPI 3.1 uses it. */
export type Schema = { [keyword: string]: unknown }

export interface Parameter {
  name: string
  in: 'query' | 'path' | 'header'
  required: boolean
  schema: Schema
}

export interface Response {
  headers: Record<string, { required: boolean; schema: Schema }>
  /** Schemas by media type; empty where there is no body. */
  content: Record<string, Schema>
}

/** One operation of openapi.yaml, its references to anything but schemas resolved. */
export interface Operation {
  operationId: string
  /** Upper case. */
  method: string
  /** With `{name}` in place of parameters. */
  path: string
  /** Names of the security schemes, one of which is needed; empty where the operation is public. */
  security: string[]
  parameters: Parameter[]
  body: { required: boolean; mediaType: string; schema: Schema } | null
  /** By status. */
  responses: Record<string, Response>
}

export interface ContractDocument {
  /** As it is served. */
  text: string
  operations: Operation[]
  schemas: Record<string, Schema>
}

interface RawMedia {
  content?: Record<string, { schema: Schema }>
}

interface RawOperation {
  operationId: string
  security?: Record<string, string[]>[]
  parameters?: unknown[]
  requestBody?: RawMedia & { required?: boolean }
  responses: Record<string, unknown>
}

interface RawDocument {
  security: Record<string, string[]>[]
  paths: Record<string, Record<string, unknown>>
  components: { schemas: Record<string, Schema> }
}

const openapi = new URL('../../../openapi.yaml', import.meta.url)

/** Reads openapi.yaml of this version. It is ours, and linted: what is wrong with it is not reported here. */
export const readContract = (file: URL = openapi): ContractDocument => {
  const text = readFileSync(file, 'utf8')
  const raw = parse(text) as RawDocument
  const operations = Object.entries(raw.paths).flatMap(([path, { parameters = [], ...methods }]) =>
    Object.entries(methods).map(([method, operation]) =>
      readOperation(raw, method.toUpperCase(), path, parameters as unknown[], operation as RawOperation),
    ),
  )
  return { text, operations, schemas: raw.components.schemas }
}

const readOperation = (
  raw: RawDocument,
  method: string,
  path: string,
  shared: unknown[],
  operation: RawOperation,
): Operation => ({
  operationId: operation.operationId,
  method,
  path,
  security: (operation.security ?? raw.security).flatMap(Object.keys),
  parameters: [...shared, ...(operation.parameters ?? [])].map(parameter => {
    const { name, in: place, required, schema } = resolve<Parameter>(raw, parameter)
    return { name, in: place, required: required === true, schema }
  }),
  body: readBody(operation),
  responses: Object.fromEntries(
    Object.entries(operation.responses).map(([status, response]) => [status, readResponse(raw, response)]),
  ),
})

const readBody = ({ requestBody }: RawOperation): Operation['body'] => {
  const [media] = Object.entries(requestBody?.content ?? {})
  if (media === undefined) return null
  return { required: requestBody?.required === true, mediaType: media[0], schema: media[1].schema }
}

const readResponse = (raw: RawDocument, response: unknown): Response => {
  const { headers = {}, content = {} } = resolve<RawMedia & { headers?: Record<string, unknown> }>(
    raw,
    response,
  )
  return {
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, header]) => {
        const { required, schema } = resolve<{ required?: boolean; schema: Schema }>(raw, header)
        return [name, { required: required === true, schema }]
      }),
    ),
    content: Object.fromEntries(Object.entries(content).map(([type, { schema }]) => [type, schema])),
  }
}

const resolve = <T>(raw: RawDocument, node: unknown): T => {
  const { $ref } = node as { $ref?: string }
  if ($ref === undefined) return node as T
  const found = $ref
    .split('/')
    .slice(1)
    .reduce<unknown>((parent, name) => (parent as Record<string, unknown>)[name], raw)
  return found as T
}
