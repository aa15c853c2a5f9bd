import { admitsAction } from './annotations.ts'
import type { CompiledPolicies } from './compile.ts'

/**
 * Whether the policies permit some mint and nothing in them tells certificates from tokens, or one name from another: then whoever gets a token
 * gets certificates too, for servers and with any DNS name. For a warning: what a policy says is so.
 */
export function allowsAnyCertificate({ policies, reads }: CompiledPolicies): boolean {
  const mint = reads.get('mint')
  const permits = [...policies.values()].some(
    ({ effect, json }) => effect === 'permit' && admitsAction(json, 'mint'),
  )
  return (
    permits &&
    mint !== undefined &&
    !mint.everything &&
    !['credential', 'usages', 'dns_names'].some(member => mint.context.has(member))
  )
}
