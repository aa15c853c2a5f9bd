import { HallpassError } from '../errors.ts'
import { type ContractDocument, type Operation, readContract, type Schema } from './contract/document.ts'
import { faults } from './contract/faults.ts'
import { type ParameterRules, parameterReader } from './contract/parameters.ts'
import { type Compile, schemaCompiler } from './contract/schemas.ts'
import type { Bodies, Forms, Queries } from './openapi.generated.d.ts'

/** The door's checks, from the same openapi.yaml that users read and the tests hold every answer against. */
export interface Contract {
  /** openapi.yaml as it is served. */
  text: string
  /** The media type that the operation's body must have, lower case, without parameters. */
  mediaType: (operationId: keyof Bodies | keyof Forms) => string
  /**
   * Checks a JSON body that `strictJson` has parsed; `undefined` for none.
   * @throws HallpassError `invalid` with `paths`; `malformed` where a body is needed and there is none.
   */
  body: <Id extends keyof Bodies>(operationId: Id) => (value: unknown) => Bodies[Id]
  /**
   * Reads a form. Unknown parameters are ignored, those without a value count as absent (RFC 6749 §3.2); `audience` and
   * `resource` alone may repeat, and are arrays.
   * @throws HallpassError `malformed`
   */
  form: <Id extends keyof Forms>(operationId: Id) => (parameters: URLSearchParams) => Forms[Id]
  /**
   * Reads query parameters, defaults filled in. For an operation without any, every parameter is one too many.
   * @throws HallpassError `malformed`
   */
  query: <Id extends string>(
    operationId: Id,
  ) => (parameters: URLSearchParams) => Id extends keyof Queries ? Queries[Id] : Record<string, never>
}

const formType = 'application/x-www-form-urlencoded'

/** Reads openapi.yaml and compiles every check that it holds: once, at start. */
export const loadContract = (document: ContractDocument = readContract()): Contract => {
  const compile = schemaCompiler(document)
  const operations = new Map(document.operations.map(operation => [operation.operationId, operation]))
  const withBody = document.operations.filter(({ body }) => body !== null)
  const bodies = table(
    withBody.filter(({ body }) => body?.mediaType !== formType),
    operation => bodyReader(operation, compile),
  )
  const forms = table(
    withBody.filter(({ body }) => body?.mediaType === formType),
    operation => parameterReader(formRules(operation, document), compile),
  )
  const queries = table(document.operations, operation => parameterReader(queryRules(operation), compile))
  return {
    text: document.text,
    mediaType: id => take(operations, id).body?.mediaType ?? '',
    body: id => take(bodies, id) as never,
    form: id => take(forms, id) as never,
    query: id => take(queries, id) as never,
  }
}

const table = <T>(operations: Operation[], make: (operation: Operation) => T): Map<string, T> =>
  new Map(operations.map(operation => [operation.operationId, make(operation)]))

/** A name that openapi.yaml does not have is a fault in the code, met when the routes are made. */
const take = <T>(entries: Map<string, T>, operationId: string): T => {
  const entry = entries.get(operationId)
  if (entry === undefined) throw new TypeError(`openapi.yaml has no such operation: ${operationId}`)
  return entry
}

const bodyReader = ({ body }: Operation, compile: Compile) => {
  const validate = compile(body?.schema ?? {})
  const required = body?.required === true
  return (value: unknown): unknown => {
    if (value === undefined && required) throw new HallpassError('malformed', 'The body is missing.')
    const given = value === undefined ? {} : value
    if (!validate(given)) {
      throw new HallpassError('invalid', 'The body does not have the shape that the contract gives it.', {
        paths: faults(validate.errors ?? []),
      })
    }
    return given
  }
}

const formRules = ({ body }: Operation, { schemas }: ContractDocument): ParameterRules => {
  const name = String(body?.schema.$ref).split('/').at(-1) ?? ''
  return { noun: 'parameter', schema: schemas[name] ?? {}, unknown: 'ignore', emptyIsAbsent: true }
}

const queryRules = ({ parameters }: Operation): ParameterRules => {
  const query = parameters.filter(({ in: place }) => place === 'query')
  const properties: Record<string, Schema> = Object.fromEntries(
    query.map(({ name, schema }) => [name, schema]),
  )
  return {
    noun: 'query parameter',
    schema: { type: 'object', properties },
    unknown: 'refuse',
    emptyIsAbsent: false,
  }
}
