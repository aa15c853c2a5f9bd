import { expect, test } from 'vitest'
import { decide } from '../../src/decide/decide.ts'
import type { Ask } from '../../src/decide/decision.ts'
import { explainText } from '../../src/decide/explain.ts'
import { administer, bootstrap, ci, compiled, mint, onTask, openChild, staff } from './asks.ts'

const set = compiled(`@id("deploy") @ttl("5m") @description("Deploys from main")
permit(principal is Workload, action == Action::"mint", resource in Scope::"deploy");

@id("freeze")
forbid(principal, action == Action::"mint", resource == Scope::"deploy:frozen");`)
const explained = (ask: Ask): string[] => explainText(set, ask, decide(set, ask)).split('\n')

test('an allow names the policies, where they stand, and how long a credential lives', () => {
  expect(explained(mint())).toEqual([
    `ALLOW  workload "${ci.id}" mint "deploy:prod" for "https://deploy.example" in a task of kind "ci-job"`,
    '  permitted by deploy (test.cedar:1): Deploys from main',
    '  a credential lives at most 300 s',
    `  policy set ${set.version}`,
  ])
})

test('a forbid is named as one', () => {
  expect(explained(mint({ scope: 'deploy:frozen' })).slice(1, 3)).toEqual([
    '  forbidden by freeze (test.cedar:4)',
    '  because forbidden by freeze',
  ])
})

test('where nothing permits, what could have is listed', () => {
  expect(explained(mint({ scope: 'read:all' })).slice(1, 4)).toEqual([
    '  because no policy permits it',
    '  not satisfied:',
    '    deploy (test.cedar:1): Deploys from main',
  ])
  expect(explained(onTask('extend'))).toContain('  no policy is about extend')
})

test('of a child, what it is and what it would be below', () => {
  expect(explained(openChild()).slice(0, 2)).toEqual([
    `ALLOW  workload "${ci.id}" open a task of kind "scan" below one of kind "ci-job"`,
    '  permitted by builtin-owner-open-child (built-in.cedar:15)',
  ])
  expect(explained(openChild(staff)).slice(1)).toEqual([
    '  because no policy permits it',
    '  not satisfied:',
    '    builtin-owner-open-child (built-in.cedar:15)',
    `  policy set ${set.version}`,
  ])
})

test('the bootstrap operator is told apart', () => {
  expect(explained(administer(bootstrap))[1]).toContain('builtin-bootstrap')
})

test('what was attested cannot write to the terminal', () => {
  const text = explained(mint({ caller: { ...ci, id: 'x\u001b[2J\n\u009b1m\u202e' } })).join('\n')
  expect(text.split('\n')).toHaveLength(4)
  expect(text.replaceAll('\n', '')).not.toMatch(/\p{Cc}|\p{Bidi_Control}/u)
})
