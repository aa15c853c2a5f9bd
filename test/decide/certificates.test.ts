import { expect, test } from 'vitest'
import { allowsAnyCertificate } from '../../src/decide/certificates.ts'
import { compilePolicies } from '../../src/decide/compile.ts'

const allows = (...policies: string[]): boolean => {
  const text = policies.map((policy, n) => `@id("p${n}") ${policy}`).join('\n')
  const result = compilePolicies([{ name: 'a.cedar', text }])
  if (!result.ok) throw new Error(result.faults.map(({ message }) => message).join())
  return allowsAnyCertificate(result.compiled)
}
const permit = 'permit (principal is Workload, action == Action::"mint", resource);'

test('policies that tell nothing of certificates allow every one', () => {
  expect(allows(permit)).toBe(true)
  expect(allows('permit (principal, action, resource);')).toBe(true)
  expect(allows(permit.replace(';', ' when { context.audience == "a" };'))).toBe(true)
})

test.each([
  'context.credential == "jwt"',
  'context.dns_names.isEmpty()',
  'context.usages.contains("serverAuth")',
])('those that look at them decide themselves: %s', condition => {
  expect(allows(permit.replace(';', ` when { ${condition} };`))).toBe(false)
  expect(
    allows(permit, `forbid (principal, action == Action::"mint", resource) when { ${condition} };`),
  ).toBe(false)
})

test('where nothing is minted there is nothing to say', () => {
  expect(allows('permit (principal, action == Action::"read", resource);')).toBe(false)
  expect(allows('forbid (principal, action == Action::"mint", resource);')).toBe(false)
})
