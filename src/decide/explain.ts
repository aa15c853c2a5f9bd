import { admitsAction } from './annotations.ts'
import type { CompiledPolicies } from './compile.ts'
import type { Ask, Decision } from './decision.ts'
import { bootstrapPolicy } from './vocabulary.ts'

/** A decision in words, several lines: what was asked, what was decided, by which policies and where they stand. */
export function explainText(compiled: CompiledPolicies, ask: Ask, decision: Decision): string {
  const lines = [`${decision.allow ? 'ALLOW' : 'DENY'}  ${askText(ask)}`]
  for (const id of decision.policies) lines.push(`  ${verb(compiled, id)} by ${policyText(compiled, id)}`)
  if (decision.ttl !== null) lines.push(`  a credential lives at most ${decision.ttl} s`)
  if (decision.binding !== null)
    lines.push('  a credential is bound to the certificate of a mutual-TLS client')
  if (decision.reason !== null) lines.push(`  because ${decision.reason}`)
  if (!decision.allow && decision.policies.length === 0) lines.push(...notSatisfied(compiled, ask))
  lines.push(`  policy set ${decision.version}`)
  return lines.join('\n')
}

function askText(ask: Ask): string {
  const who = `${ask.caller.kind} ${quoted(ask.caller.id)}`
  switch (ask.action) {
    case 'mint':
      return `${who} mint ${quoted(ask.scope)} for ${quoted(ask.audience)}${certificateText(ask)} in a task of kind ${quoted(ask.task.kind)}`
    case 'open':
      return `${who} open a task of kind ${quoted(ask.task.kind)}`
    case 'open_child':
      return `${who} open a task of kind ${quoted(ask.task.kind)} below one of kind ${quoted(ask.parent.kind)}`
    case 'administer':
      return `${who} administer the broker`
    default:
      return `${who} ${ask.action} a task of kind ${quoted(ask.task.kind)}`
  }
}

function certificateText(ask: Extract<Ask, { action: 'mint' }>): string {
  if (ask.credential === 'jwt') return ''
  const names = ask.dnsNames.length === 0 ? '' : ` named ${ask.dnsNames.map(quoted).join(', ')}`
  return ` as a certificate (${ask.usages.join(', ')})${names}`
}

/** What is attested may hold anything; a terminal should not obey it. */
const quoted = (text: string): string =>
  JSON.stringify(text).replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '\ufffd')

const verb = (compiled: CompiledPolicies, id: string): string =>
  compiled.policies.get(id)?.effect === 'forbid' ? 'forbidden' : 'permitted'

function policyText(compiled: CompiledPolicies, id: string): string {
  if (id === bootstrapPolicy) return `${id} (the bootstrap operator's own right)`
  const policy = compiled.policies.get(id)
  if (policy === undefined) return id
  return `${id} (${policy.place})${policy.description === null ? '' : `: ${policy.description}`}`
}

/** Where nothing permitted: which policies could have. */
function notSatisfied(compiled: CompiledPolicies, ask: Ask): string[] {
  const permits = [...compiled.policies.values()].filter(
    policy => policy.effect === 'permit' && admitsAction(policy.json, ask.action),
  )
  if (permits.length === 0) return [`  no policy is about ${ask.action}`]
  return ['  not satisfied:', ...permits.map(policy => `    ${policyText(compiled, policy.id)}`)]
}
