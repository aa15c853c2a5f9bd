import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Attestor, createAttestor } from '../attest/attestor.ts'
import type { Principal } from '../attest/principal.ts'
import type { LoadedConfig } from '../config.ts'
import type { CompiledPolicies } from '../decide/compile.ts'
import { decide } from '../decide/decide.ts'
import type { Ask, TaskView } from '../decide/decision.ts'
import { explainText } from '../decide/explain.ts'
import { faultText } from '../decide/fault.ts'
import { loadPolicyDir } from '../decide/folder.ts'
import { readPem } from '../der/pem.ts'
import { newId } from '../ids.ts'
import { type Job, jobOf } from '../task/job.ts'
import { CommandError, type Io } from './io.ts'
import { cell, details, type Row } from './output.ts'
import { below, readParent } from './parents.ts'

export interface Asked {
  attestation: string
  scope: string[]
  audience: string[]
  kind?: string
  /** Files with the tasks that it would be opened below, root first. */
  parent?: string[]
  /** Key purposes and DNS names of a certificate; neither, for a token. */
  usage?: ('clientAuth' | 'serverAuth')[]
  dnsName?: string[]
}

export interface Explanation {
  allow: boolean
  text: string
  json: Row
}

/** What the broker would decide, now, if this attestation asked for these scopes in a task that is opened for it, on its own or below another. */
export const explain = async (io: Io, config: LoadedConfig, asked: Asked): Promise<Explanation> => {
  // 1. Who is asking: verified against the trust sources, over the network where their keys are there.
  const ownTrustDomain = config.pki?.trustDomain
  const attestor = createAttestor({ ...config, ownTrustDomain, clock: io.clock })
  const principal = await attested(attestor, readAttestation(io, asked.attestation))

  // 2. For what.
  const job = jobOf(principal)
  const parent = readParent(io, config, principal, asked.parent ?? [])
  const task = taskAsItWouldBe(io, principal, { kind: kindOf(principal, job, asked.kind), job, parent })

  // 3. May they?
  const policies = await compiled(config)
  const circumstances = { caller: principal, now: io.clock(), ip: null }
  const ttl = Math.floor(Math.min(config.credentials.ttlDefault, config.credentials.ttlMax) / 1000)
  const asks: Ask[] = [
    parent === null
      ? { ...circumstances, action: 'open', task }
      : { ...circumstances, action: 'open_child', parent, task },
    ...asked.audience.flatMap(audience =>
      asked.scope.map(
        scope =>
          ({
            ...circumstances,
            action: 'mint',
            task,
            scope,
            audience,
            ttl,
            ...credentialOf(asked),
          }) satisfies Ask,
      ),
    ),
  ]
  const decided = asks.map(ask => ({ ask, decision: decide(policies, ask) }))
  const described = describe(principal, task, job, parent)
  return {
    allow: decided.every(({ decision }) => decision.allow),
    text: [text(described), ...decided.map(({ ask, decision }) => explainText(policies, ask, decision))].join(
      '\n\n',
    ),
    json: {
      ...described,
      decisions: decided.map(({ ask, decision }) => ({ ...question(ask), ...decision })),
    },
  }
}

/** A JWT, or the chain of an X.509-SVID in PEM, whose key nobody proves here. */
const attested = (attestor: Attestor, text: string): Promise<Principal> =>
  text.startsWith('-----BEGIN ') ? attestor.attestCertificate(chainIn(text)) : attestor.attest(text)

const chainIn = (text: string): Buffer[] => {
  try {
    return readPem(text, 16).map(({ der }) => der)
  } catch {
    throw new CommandError('the attestation is no certificate that can be read')
  }
}

const credentialOf = ({ usage, dnsName }: Asked) =>
  usage === undefined && dnsName === undefined
    ? { credential: 'jwt' as const, usages: [], dnsNames: [] }
    : { credential: 'x509' as const, usages: usage ?? ['clientAuth'], dnsNames: dnsName ?? [] }

const readAttestation = (io: Io, file: string): string => {
  try {
    return readFileSync(file === '-' ? 0 : resolve(io.cwd, file), 'utf8').trim()
  } catch (error) {
    throw new CommandError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

const kindOf = (principal: Principal, job: Job | null, named: string | undefined): string => {
  if (job !== null && named !== undefined && named !== job.kind) {
    throw new CommandError(`--kind must be ${job.kind}: attestations of ${principal.trust} stand for that`, 2)
  }
  const kind = job?.kind ?? named
  if (kind === undefined)
    throw new CommandError(`--kind is needed: attestations of ${principal.trust} name no job`, 2)
  return kind
}

const taskAsItWouldBe = (
  io: Io,
  { id }: Principal,
  { kind, job, parent }: { kind: string; job: Job | null; parent: TaskView | null },
): TaskView => ({
  id: newId(),
  kind,
  state: 'open',
  context: job?.context ?? {},
  subject: id,
  owner: id,
  ...below(parent),
  openedAt: io.clock(),
})

const compiled = async ({ policy }: LoadedConfig): Promise<CompiledPolicies> => {
  const result = await loadPolicyDir(policy.dir)
  if (result.ok) return result.compiled
  throw new CommandError(`The policies would not be loaded:\n${result.faults.map(faultText).join('\n')}`)
}

const describe = (principal: Principal, task: TaskView, job: Job | null, parent: TaskView | null) => ({
  principal: { id: principal.id, kind: principal.kind, trust: principal.trust },
  groups: principal.groups,
  tags: principal.tags,
  task: {
    kind: task.kind,
    ref: job?.ref ?? null,
    parent_id: parent?.id ?? null,
    bind: job?.bind ?? [],
    context: task.context,
  },
})

const text = ({ principal, groups, tags, task }: ReturnType<typeof describe>): string =>
  [
    details({
      principal: principal.id,
      is: `${principal.kind} of ${principal.trust}`,
      task: task.kind,
      ref: task.ref,
      parent: task.parent_id,
    }),
    named('groups', groups.map(cell)),
    named('tags', pairs(tags)),
    named('context', pairs(task.context)),
  ].join('\n')

const named = (name: string, lines: string[]): string =>
  [name, ...(lines.length === 0 ? ['-'] : lines)].join('\n  ')

const pairs = (values: Record<string, string>): string[] =>
  Object.entries(values).map(([name, value]) => `${cell(name)} = ${cell(value)}`)

const question = (ask: Ask): Row =>
  ask.action === 'mint'
    ? { action: ask.action, scope: ask.scope, audience: ask.audience, credential: ask.credential }
    : { action: ask.action }
