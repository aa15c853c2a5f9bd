import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type {
  BlockList,
  BulkRevocationResult,
  CredentialList,
  DecisionList,
  KeyList,
  Task,
  TaskList,
} from '../../src/http/openapi.generated.d.ts'
import { folder, hallpass } from '../cli/command.ts'
import { testIssuer } from '../support/broker.ts'
import { startWorld, type World } from './world.ts'

let world: World
let cwd: string
beforeAll(async () => {
  world = await startWorld()
  cwd = folder()
  writeFileSync(join(cwd, 'hallpass.yaml'), `issuer: ${testIssuer}\n`)
})
afterAll(() => world?.close())

/** As whoever can read the master key: the command makes its own token. */
const run = (...args: string[]) => {
  const env = { HALLPASS_MASTER_KEY: world.broker.config.masterKey!.toString('base64') }
  return hallpass(['--url', world.broker.url, ...args], { cwd, env })
}
const json = async <Body>(...args: string[]): Promise<Body> => JSON.parse((await run(...args, '--json')).out)

test('tasks: listed, searched, shown, suspended, resumed and closed', async () => {
  const task = await world.open('/agent/a', { ref: 'cli' })
  const token = await world.mint('/agent/a', task)
  const table = (await run('tasks', 'list', '--ref', 'cli')).out.split('\n')
  expect(table[0]?.split(/ {2,}/)).toEqual([
    'ID',
    'STATE',
    'CLOSE_REASON',
    'KIND',
    'REF',
    'PRINCIPAL',
    'DEADLINE',
  ])
  expect(table[1]?.split(/ +/).slice(0, 5)).toEqual([task.id, 'open', '-', 'agent-run', 'cli'])
  expect(
    (await json<TaskList>('tasks', 'list', '--principal', task.principal, '--state', 'open')).items,
  ).toEqual([task])
  expect((await json<TaskList>('tasks', 'list', '--state', 'closed')).items).toEqual([])
  const child = await world.open('/agent/a', { ref: 'below', parent_id: task.id })
  expect((await json<TaskList>('tasks', 'list', '--parent', task.id)).items).toEqual([child])
  expect((await run('tasks', 'list', '--parent', 'x')).exitCode).toBe(2)
  expect(await json<Task>('tasks', 'show', task.id)).toEqual(task)
  expect((await run('tasks', 'show', task.id)).out).toMatch(
    /^principal +spiffe:\/\/prod\.example\/agent\/a$/m,
  )

  expect((await run('tasks', 'suspend', task.id, '--reason', 'odd')).exitCode).toBe(0)
  expect(await world.live(token)).toBe(false)
  expect((await json<Task>('tasks', 'resume', task.id)).state).toBe('open')
  expect(await world.live(token)).toBe(true)
  expect((await json<Task>('tasks', 'close', task.id, '--outcome', 'revoked')).close_reason).toBe('revoked')
  expect(await world.live(token)).toBe(false)
  const late = await run('tasks', 'resume', task.id)
  expect(late).toMatchObject({ exitCode: 1, out: '' })
  expect(late.err).toMatch(/^hallpass: The task is closed\. \(status 409, code wrong_state, request_id /)
})

test('lists go on where they say that there is more', async () => {
  for (let n = 0; n < 3; n++) await world.open('/agent/p', { ref: `p${n}` })
  const asked = ['tasks', 'list', '--principal', 'spiffe://prod.example/agent/p', '--limit', '2']
  const { out, err } = await run(...asked)
  expect(out.split('\n')).toHaveLength(3)
  const [, cursor] = /--cursor (\S+)/.exec(err) ?? []
  const rest = await run(...asked, '--cursor', cursor!)
  expect([rest.out.split('\n').length, rest.err]).toEqual([2, ''])
})

test('credentials: listed, shown and revoked, one alone', async () => {
  const task = await world.open('/agent/c')
  const tokens = [await world.mint('/agent/c', task), await world.mint('/agent/c', task)]
  const { items } = await json<CredentialList>('credentials', 'list', task.id)
  expect(items.map(({ live }) => live)).toEqual([true, true])
  expect(await json('credentials', 'show', items[0]!.jti)).toEqual(items[0])
  expect((await run('credentials', 'revoke', items[0]!.jti, '--reason', 'leaked')).exitCode).toBe(0)
  expect(await Promise.all(tokens.map(token => world.live(token)))).toEqual([true, false])
  const { out } = await run('credentials', 'list', task.id)
  for (const token of tokens) expect(out).not.toContain(token)
})

test('everything of a principal, a source, or all: counted, revoked and blocked; blocks listed and lifted', async () => {
  const task = await world.open('/agent/r')
  const token = await world.mint('/agent/r', task)
  const asked = ['revoke', '--principal', task.principal, '--reason', 'SEC-42']
  const dry = await run(...asked, '--dry-run')
  expect([dry.exitCode, dry.out.split('\n').map(line => line.split(/ +/))]).toEqual([
    0,
    [
      ['dry_run', 'true'],
      ['tasks', '1'],
      ['credentials', '1'],
      ['block', '-'],
    ],
  ])
  expect(await world.live(token)).toBe(true)
  const until = '2099-01-01T00:00:00.000Z'
  const { tasks, block } = await json<BulkRevocationResult>(...asked, '--until', until)
  expect([tasks, block]).toEqual([
    1,
    expect.objectContaining({ principal: task.principal, reason: 'SEC-42', until }),
  ])
  expect(await world.live(token)).toBe(false)
  expect((await json<Task>('tasks', 'show', task.id)).close_reason).toBe('revoked')

  const told = (await run('revoke', '--trust', 'prod-example')).out
  const second = /^block +(\S+)$/m.exec(told)?.[1]
  const { out } = await run('blocks', 'list')
  expect(out.split('\n').map(line => line.split(/ {2,}/)[0])).toEqual(['ID', second, block!.id])
  expect((await json<BlockList>('blocks', 'list', '--limit', '1')).items.map(({ id }) => id)).toEqual([
    second,
  ])
  for (const id of [second!, block!.id])
    expect(await run('blocks', 'lift', id)).toEqual({ exitCode: 0, out: `${id} is lifted`, err: '' })
  expect((await run('blocks', 'lift', second!)).err).toMatch(
    /^hallpass: There is no such block\. \(status 404, code not_found/,
  )
  expect((await run('revoke', '--everything', '--until', '2020-01-01T00:00:00Z')).err).toMatch(
    /\/until is past/,
  )
  await expect(world.open('/agent/r')).resolves.toMatchObject({ state: 'open' })
})

test('keys: withdrawn', async () => {
  const [first] = (await json<KeyList>('keys', 'list')).items
  const { exitCode, out } = await run('keys', 'withdraw', '--reason', 'lost', '--', first!.kid)
  expect(exitCode).toBe(0)
  expect(out).toContain(`${first!.kid}  jwt  ES256  withdrawn`)
  expect((await json<KeyList>('keys', 'list')).items[0]).toMatchObject({
    kid: first!.kid,
    state: 'withdrawn',
  })
})

test('decisions: searched', async () => {
  const task = await world.open('/agent/d')
  await world.exchange(world.as('/agent/e'), { task_id: task.id })
  const { items } = await json<DecisionList>('decisions', 'list', '--task', task.id)
  expect(items.map(({ action, decision }) => [action, decision])).toEqual([['open', 'allow']])
  const denied = await run(
    'decisions',
    'list',
    '--principal',
    'spiffe://prod.example/agent/e',
    '--decision',
    'deny',
  )
  expect(denied.out).toMatch(/deny +mint +spiffe:\/\/prod\.example\/agent\/e .*task_unknown/)
})

test('a token that is none, and a broker that is not there, are told in one line', async () => {
  const bad = await hallpass(['tasks', 'list', '--url', world.broker.url], {
    cwd,
    env: { HALLPASS_TOKEN: 'nonsense' },
  })
  expect([bad.exitCode, bad.out]).toEqual([1, ''])
  expect(bad.err).toMatch(/^hallpass: .*\(status 401, code attestation_invalid, request_id [0-9a-f-]+\)$/)
  const away = await hallpass(['tasks', 'list', '--url', 'http://127.0.0.1:9'], {
    cwd,
    env: { HALLPASS_TOKEN: 'x' },
  })
  expect([away.exitCode, away.err.split('\n').length]).toEqual([1, 1])
})

test('an agent uses them with its own attestation, and sees what it may see', async () => {
  const task = await world.open('/agent/f')
  const asAgent = (...args: string[]) =>
    hallpass([...args, '--url', world.broker.url], { cwd, env: { HALLPASS_TOKEN: world.as('/agent/f') } })
  expect((await asAgent('tasks', 'close', task.id, '--outcome', 'failed')).out).toMatch(
    /close_reason +failed/,
  )
  expect((await asAgent('decisions', 'list')).err).toMatch(/status 403, code refused, .*decision_id/)
})
