import type { Config } from '../config.ts'
import type { Binding, Decision } from '../decide/decision.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { Event } from '../observe/record.ts'
import type { Task } from '../store/task-record.ts'
import { circumstances } from '../task/authorize.ts'
import type { TaskDeps } from '../task/deps.ts'
import { viewOf } from '../task/view.ts'
import type { Confirmation } from './jwt.ts'

/** What a caller asks a credential for. */
export interface Ask {
  scopes: string[]
  audiences: string[]
  /** Seconds; null: as long as policy and configuration give. */
  ttl: number | null
  /** What it is to be bound to; null: to what policy says, if to anything. */
  binding: Binding | null
  /** What a certificate is asked to be for; null for a token. */
  certificate: CertificateAsk | null
}

/** As policy sees it (contract §7): key purposes by their names in RFC 5280 §4.2.1.12, and DNS names. */
export interface CertificateAsk {
  usages: ('clientAuth' | 'serverAuth')[]
  dnsNames: string[]
}

/** What policy allowed: these scopes, these audiences, this long, for this holder. */
export interface Grant {
  /** Whole seconds. */
  ttl: number
  /** Of a token: whose it is; null: of whoever bears it. A certificate is its key's by itself. */
  cnf: Confirmation | null
}

/** Scopes times audiences at the most: each is a decision. */
const questionsMost = 32
/** Bytes of them at the most: a token that was minted must fit into a header, and into what is read to introspect it. */
const bytesMost = 8192

/** Throws `malformed` or `invalid_target` for what no policy needs to be asked about. */
export function checkAsk(
  { scopes, audiences, binding }: Ask,
  { certificate }: Pick<Asker, 'certificate'>,
  issuer: string,
): void {
  if (scopes.length === 0) throw new HallpassError('malformed', 'scope is required.')
  if (audiences.length === 0) throw new HallpassError('malformed', 'audience or resource is required.')
  if (scopes.length * audiences.length > questionsMost)
    throw new HallpassError('malformed', `Scopes times audiences are more than ${questionsMost}.`)
  if (bytesOf(scopes) + bytesOf(audiences) > bytesMost)
    throw new HallpassError('malformed', `Scopes and audiences have more than ${bytesMost} bytes.`)
  if (audiences.length > 1 && audiences.includes(issuer))
    throw new HallpassError('invalid_target', 'A token for the broker itself is for nobody else.')
  if (binding !== null && certificate === null)
    throw new HallpassError('malformed', 'binding=mtls needs a client certificate on this connection.')
}

/** As they stand in the token. */
const bytesOf = (texts: string[]): number => texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 3, 0)

/**
 * Asks policy for each scope and audience; all must be allowed. Throws `refused` naming the first scope that is not, or `invalid_target`
 * where no scope passes for an audience. The shortest of the lifetimes wins, and one `@binding` binds.
 */
export function decideMint(
  deps: Pick<TaskDeps, 'decide' | 'clock'>,
  credentials: Config['credentials'],
  event: Event,
  task: Task,
  { scopes, audiences, ttl, binding, certificate }: Ask,
): Grant {
  const asked = Math.floor(
    Math.min(ttl === null ? credentials.ttlDefault : ttl * 1000, credentials.ttlMax) / 1000,
  )
  const decisions = audiences.map(audience => ({
    audience,
    each: scopes.map(scope => ({
      scope,
      decision: ask(deps, event.asker, task, { scope, audience, ttl: asked, certificate }),
    })),
  }))
  event.decisions = decisions.flatMap(({ each }) => each.map(({ decision }) => decision))
  for (const { audience, each } of decisions) {
    const refused = each.find(({ decision }) => !decision.allow)
    if (!refused) continue
    if (each.every(({ decision }) => !decision.allow))
      throw new HallpassError('refused', `No scope of ${scopes.join(' ')} is allowed for ${audience}.`, {
        cause: new NoScopePasses(reasonOf(refused.decision)),
      })
    throw new HallpassError('refused', `Scope ${refused.scope} is refused for ${audience}.`)
  }
  return {
    ttl: Math.min(asked, ...event.decisions.map(decision => decision.ttl ?? Number.POSITIVE_INFINITY)),
    cnf: certificate ? null : confirmationOf(event, binding),
  }
}

/** Throws `refused` where policy asks for a holder who proves it with a certificate, and this one has shown none. */
function confirmationOf({ asker, decisions }: Event, asked: Binding | null): Confirmation | null {
  if (asked === null && decisions.every(({ binding }) => binding === null)) return null
  if (asker.certificate === null)
    throw new HallpassError(
      'refused',
      'Policy allows this over mutual TLS alone: the token is bound to the client’s certificate.',
    )
  return { 'x5t#S256': asker.certificate }
}

/** Tells apart, for the token endpoint's `error`, an audience for which nothing is allowed from a scope that is not. */
export class NoScopePasses extends Error {}

const reasonOf = (decision: Decision): string => decision.reason ?? 'no policy allows it'

function ask(
  deps: Pick<TaskDeps, 'decide' | 'clock'>,
  asker: Asker,
  task: Task,
  asked: { scope: string; audience: string; ttl: number; certificate: CertificateAsk | null },
): Decision {
  const view = viewOf(task, asker)
  return deps.decide({
    ...circumstances(deps, asker),
    action: 'mint',
    task: view,
    scope: asked.scope,
    audience: asked.audience,
    ttl: asked.ttl,
    credential: asked.certificate ? 'x509' : 'jwt',
    usages: asked.certificate?.usages ?? [],
    dnsNames: asked.certificate?.dnsNames ?? [],
  })
}
