import type { ValidateFunction } from 'ajv/dist/2020.js'
import type { ContractDocument, Operation, Response, Schema } from '../../src/http/contract/document.ts'
import { faults } from '../../src/http/contract/faults.ts'
import { type Compile, schemaCompiler } from '../../src/http/contract/schemas.ts'

/** One answer, and what it answers. */
export interface Exchange {
  method: string
  path: string
  status: number
  headers: Headers
  text: string
}

export interface ContractChecker {
  /** The operation that openapi.yaml has for a method and a path; undefined where it has none. */
  find: (method: string, path: string) => Operation | undefined
  /** @throws Error that says what does not agree with openapi.yaml. */
  check: (exchange: Exchange) => void
}

const problem: Schema = { $ref: '#/components/schemas/Problem' }

/**
 * What is outside the contract: not found, or not by this method, as a problem document. What cannot be read at all may be
 * refused before it is known where it was meant to go.
 */
const outside: Response = { headers: {}, content: { 'application/problem+json': problem } }
const outsideStatuses = [404, 405, 400, 413, 415, 429, 503]

/** RFC 9110 §9.3.7: any path may say which methods it has. */
const options: Response = { headers: { Allow: { required: true, schema: { type: 'string' } } }, content: {} }

export const contractChecker = (document: ContractDocument): ContractChecker => {
  const compile = remembering(schemaCompiler(document))
  const find = finder(document)
  const check = (exchange: Exchange) => {
    const faultsFound = [...disagreements(find(exchange.method, exchange.path), exchange, compile)]
    if (faultsFound.length > 0) throw new Error(tell(exchange, faultsFound))
  }
  return { find, check }
}

/** Compiles each schema once, by its text: the compiler itself keeps every copy that it is given. */
const remembering = (compile: Compile): Compile => {
  const compiled = new Map<string, ValidateFunction>()
  return schema => {
    const key = JSON.stringify(schema)
    const validate = compiled.get(key) ?? compile(schema)
    compiled.set(key, validate)
    return validate
  }
}

const finder = ({ operations }: ContractDocument): ContractChecker['find'] => {
  const routes = operations.map(operation => ({ operation, pattern: patternOf(operation.path) }))
  return (method, path) => {
    const pathname = path.split(/[?#]/)[0] ?? ''
    const asked = method.toUpperCase() === 'HEAD' ? 'GET' : method.toUpperCase()
    return routes.find(({ operation, pattern }) => operation.method === asked && pattern.test(pathname))
      ?.operation
  }
}

const patternOf = (template: string): RegExp => {
  const parts = template.split(/\{\w+\}/).map(part => part.replaceAll('.', '\\.'))
  return new RegExp(`^${parts.join('[^/]+')}$`)
}

function* disagreements(
  operation: Operation | undefined,
  exchange: Exchange,
  compile: Compile,
): Generator<string> {
  const { status } = exchange
  if (exchange.method.toUpperCase() === 'OPTIONS' && status === 200) {
    yield* headerFaults(options, exchange, compile)
    return
  }
  if (operation === undefined && !outsideStatuses.includes(status)) {
    yield 'is not in the contract: 404 or 405 was expected'
    return
  }
  const response = operation === undefined ? outside : operation.responses[String(status)]
  if (response === undefined) {
    yield `status ${status} is not documented; ${Object.keys(operation?.responses ?? {}).join(', ')} are`
    return
  }
  yield* headerFaults(response, exchange, compile)
  yield* exchange.method.toUpperCase() === 'HEAD' ? [] : bodyFaults(response, exchange, compile)
}

function* headerFaults(response: Response, { headers }: Exchange, compile: Compile): Generator<string> {
  for (const [name, { required, schema }] of Object.entries(response.headers)) {
    const text = headers.get(name)
    if (text === null) {
      if (required) yield `header ${name} is missing`
      continue
    }
    const validate = compile(schema)
    const value = schema.type === 'integer' && /^\d+$/.test(text) ? Number(text) : text
    if (!validate(value)) yield `header ${name}: ${text} ${faults(validate.errors ?? [])[0]?.message ?? ''}`
  }
}

function* bodyFaults(
  { content }: Response,
  { status, headers, text }: Exchange,
  compile: Compile,
): Generator<string> {
  const types = Object.keys(content)
  if (types.length === 0) {
    if (text !== '') yield 'has a body, and none is documented'
    return
  }
  const type = headers.get('Content-Type')?.split(';')[0]?.trim().toLowerCase()
  const schema = type === undefined ? undefined : content[type]
  if (schema === undefined || type === undefined) {
    yield `media type ${type ?? '(none)'} is not documented; ${types.join(', ')} is`
    return
  }
  let body: unknown = text
  try {
    if (type.endsWith('json')) body = JSON.parse(text)
  } catch {
    yield 'the body is not JSON'
    return
  }
  const validate = compile(schema)
  if (!validate(body))
    yield* faults(validate.errors ?? []).map(({ path, message }) => `body ${path || '/'}: ${message}`)
  // RFC 9457 §3.1.2.
  else if (type === 'application/problem+json' && (body as { status: number }).status !== status) {
    yield 'the problem document has another status than the answer'
  }
}

const tell = ({ method, path, status, text }: Exchange, found: string[]): string =>
  [
    `${method} ${path} answered ${status}, not as openapi.yaml says:`,
    ...found.map(fault => `  - ${fault}`),
    text.slice(0, 1000),
  ].join('\n')
