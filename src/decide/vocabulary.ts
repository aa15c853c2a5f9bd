import { readFileSync } from 'node:fs'
import { bootstrapOperator } from '../attest/operator-token.ts'
import type { Action, Ask, Caller } from './decision.ts'

const beside = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8')

/** The Cedar schema of contract §7: what policies are validated against. */
export const schemaText = beside('schema.cedarschema')

/** The policies that hold until the folder has one with the same `@id`. */
export const builtInFile = { name: 'built-in.cedar', text: beside('built-in.cedar') }

/** Ids that begin so belong to the broker; a policy may only take the place of one that exists. */
export const builtInPrefix = 'builtin-'

/** The one entity of type `Broker`. */
export const brokerId = 'hallpass'

export const bootstrapPolicy = 'builtin-bootstrap'

/** What the bootstrap operator (contract §3) may do whatever the policies say: it is the first way in, and the last. */
const bootstrapActions: ReadonlySet<Action> = new Set([
  'read',
  'suspend',
  'resume',
  'close',
  'revoke',
  'administer',
])

export const bootstrapMay = (ask: Ask): boolean =>
  ask.caller.kind === 'operator' && ask.caller.id === bootstrapOperator && bootstrapActions.has(ask.action)

const anyone: readonly Caller['kind'][] = ['workload', 'operator']

/**
 * The actions that are asked, and who may be their principal. Requests are not validated against the schema when they
 * are decided (that costs as much as deciding), so this table is what keeps an operator from minting.
 */
export const actions: ReadonlyMap<string, readonly Caller['kind'][]> = new Map<
  Action,
  readonly Caller['kind'][]
>([
  ['open', anyone],
  ['open_child', anyone],
  ['mint', ['workload']],
  ['introspect', ['workload']],
  ['read', anyone],
  ['close', anyone],
  ['suspend', anyone],
  ['resume', anyone],
  ['extend', anyone],
  ['revoke', anyone],
  ['change_context', anyone],
  ['heartbeat', anyone],
  ['administer', ['operator']],
])

/** Actions that end in a credential, where a `@ttl` means something. */
export const credentialActions: readonly string[] = ['mint', 'delegate', 'approve']

export const entityTypeOf = { workload: 'Workload', operator: 'Operator' } as const
