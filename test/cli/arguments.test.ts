import { describe, expect, test } from 'vitest'
import { hallpass } from './command.ts'

const task = '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'
const explain = ['policy', 'explain', '--attestation', 'a.jwt', '--audience', 'https://a.example']

describe('wrongly called, a command exits with 2, says why, and prints nothing else', () => {
  test.each<[string[], RegExp]>([
    [[], /Usage/],
    [['nonsense'], /unknown command/],
    [['taks'], /Did you mean tasks/],
    [['tasks'], /Usage/],
    [['tasks', 'list', '--colour', 'red'], /unknown option/],
    [['tasks', 'list', 'extra'], /too many arguments/],
    [['tasks', 'list', '--state', 'asleep'], /open, suspended, closed/],
    [['tasks', 'list', '--limit', '0'], /1 to 200/],
    [['tasks', 'list', '--limit', '201'], /1 to 200/],
    [['tasks', 'list', '--limit', '1e1'], /1 to 200/],
    [['tasks', 'show'], /missing required argument/],
    [['tasks', 'show', '../keys'], /UUID/],
    [['tasks', 'show', task.toUpperCase()], /UUID/],
    [['tasks', 'suspend', 'x'], /UUID/],
    [['tasks', 'resume', 'x'], /UUID/],
    [['tasks', 'close', task, '--outcome', 'expired'], /completed, failed, cancelled, revoked, risk/],
    [['credentials', 'list'], /missing required argument/],
    [['credentials', 'show', 'x'], /UUID/],
    [['credentials', 'revoke', 'x'], /UUID/],
    [['decisions', 'list', '--task', 'x'], /UUID/],
    [['decisions', 'list', '--decision', 'maybe'], /allow, deny/],
    [['keys', 'rotate', 'now'], /too many arguments/],
    [['keys', 'withdraw'], /missing required argument/],
    [['keys', 'withdraw', '../rotate'], /kid/],
    [['revoke'], /--principal, --trust and --everything/],
    [['revoke', '--reason', 'x', '--dry-run'], /--principal, --trust and --everything/],
    [['revoke', '--principal', 'ci:x', '--trust', 'ci'], /cannot be used with/],
    [['revoke', '--trust', 'ci', '--everything'], /cannot be used with/],
    [['revoke', 'everything'], /too many arguments/],
    [['blocks'], /Usage/],
    [['blocks', 'lift'], /missing required argument/],
    [['blocks', 'lift', 'x'], /UUID/],
    [['operator-token', 'please'], /too many arguments/],
    [['policy', 'check'], /missing required argument/],
    [['policy', 'explain', '--attestation', 'a.jwt', '--audience', 'a'], /--scope/],
    [['policy', 'explain', '--attestation', 'a.jwt', '--scope', 'a'], /--audience/],
    [['policy', 'explain', '--scope', 'a', '--audience', 'a'], /--attestation/],
    [[...explain, '--scope', ''], /scopes/],
    [[...explain, '--scope', 'a  b'], /scopes/],
    [[...explain, '--scope', 'a"b'], /scopes/],
    [['keys', 'list', '--token', 't', '--url', 'http://hallpass.example'], /https/],
    [['keys', 'list', '--token', 't', '--url', 'https://hallpass.example?x'], /query/],
    [['keys', 'list', '--token', 'a b', '--url', 'https://hallpass.example'], /bearer token/],
    [['keys', 'list', '--token', 'a\nb', '--url', 'https://hallpass.example'], /bearer token/],
  ])('%j', async (args, message) => {
    const { exitCode, out, err } = await hallpass(args)
    expect([exitCode, out]).toEqual([2, ''])
    expect(err).toMatch(message)
  })
})

test('help is no error', async () => {
  const { exitCode, out, err } = await hallpass(['--help'])
  expect([exitCode, err]).toEqual([0, ''])
  for (const group of [
    'operator-token',
    'tasks',
    'credentials',
    'revoke',
    'blocks',
    'decisions',
    'keys',
    'policy',
  ]) {
    expect(out).toContain(group)
  }
  expect((await hallpass(['tasks', '--help'])).out).toMatch(/suspend/)
})

test('a token is never repeated in what is said of it', async () => {
  const { err } = await hallpass(['keys', 'list', '--token', 'sec ret', '--url', 'https://hallpass.example'])
  expect(err).not.toContain('ret\n')
  expect(err).not.toContain('sec')
})

test('what was typed wrong is not obeyed by the terminal that shows it', async () => {
  const { err } = await hallpass(['\u001b[2J'])
  expect(err).not.toContain('\u001b')
})
