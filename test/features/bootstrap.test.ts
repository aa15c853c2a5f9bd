import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TaskList } from '../../src/http/openapi.generated.d.ts'
import { testIssuer } from '../support/broker.ts'
import { startWorld, type World } from './world.ts'

// No policy names an operator: what works here is built in.
const policies = `
@id("open") permit (principal is Workload, action == Action::"open", resource);
@id("mint") permit (principal is Workload, action == Action::"mint", resource);
@id("introspect") permit (principal is Workload, action == Action::"introspect", resource);`

let world: World
/** What `hallpass operator-token` printed, run as a process beside the broker. */
let token: string
const folder = mkdtempSync(join(tmpdir(), 'hallpass-bootstrap-'))

beforeAll(async () => {
  world = await startWorld({ policies })
  writeFileSync(join(folder, 'hallpass.yaml'), `issuer: ${testIssuer}\n`)
  const cli = join(import.meta.dirname, '../../src/cli/hallpass.ts')
  const env = { ...process.env, HALLPASS_MASTER_KEY: world.broker.config.masterKey!.toString('base64') }
  const { stdout } = await promisify(execFile)(process.execPath, [cli, 'operator-token'], {
    cwd: folder,
    env,
  })
  token = stdout.trim()
})
afterAll(async () => {
  await world?.close()
  rmSync(folder, { recursive: true, force: true })
})

const post = (path: string, json: object = {}) => world.act(token, 'POST', path, json)

test('its bearer reads, suspends, resumes, closes, revokes and administers, whatever the policies say', async () => {
  const task = await world.open('/agent/a')
  const [first, second] = [await world.mint('/agent/a', task), await world.mint('/agent/a', task)]
  expect((await world.act<TaskList>(token, 'GET', '/v1/tasks')).body.items).toEqual([task])
  const [, oldest] = await world.credentials(token, task)
  expect((await post(`/v1/credentials/${oldest!.jti}/revoke`)).status).toBe(200)
  expect([await world.live(first), await world.live(second)]).toEqual([false, true])
  expect((await post(`/v1/tasks/${task.id}/suspend`)).body.state).toBe('suspended')
  expect((await post(`/v1/tasks/${task.id}/resume`)).body.state).toBe('open')
  expect((await world.act(token, 'GET', '/v1/keys')).status).toBe(200)
  expect((await post(`/v1/tasks/${task.id}/close`, { outcome: 'revoked' })).body.close_reason).toBe('revoked')
  expect(await world.live(second)).toBe(false)
  const log = await world.decisions('?principal=hallpass:bootstrap&action=close')
  expect(log).toMatchObject([{ decision: 'allow', policies: ['builtin-bootstrap'], trust: 'hallpass' }])
})

test('the rest is for policy to allow, and here none does', async () => {
  const { id, deadline } = await world.open('/agent/a')
  const later = new Date(Date.parse(deadline) + 60_000).toISOString()
  expect((await post(`/v1/tasks/${id}/extend`, { deadline: later })).status).toBe(403)
  expect((await post(`/v1/tasks/${id}/heartbeat`)).status).toBe(403)
  expect((await world.act(token, 'PATCH', `/v1/tasks/${id}/context`, { a: 'b' })).status).toBe(403)
  const asked = { kind: 'agent-run', ref: 'x', principal: 'spiffe://prod.example/agent/a' }
  expect((await post('/v1/tasks', asked)).status).toBe(403)
})

test('it is no attestation: it mints nothing', async () => {
  const { id } = await world.open('/agent/b')
  expect((await world.exchange(token, { task_id: id })).body.code).toBe('attestation_invalid')
  expect((await post(`/v1/tasks/${id}/credentials`, { type: 'jwt', scope: 'a', audience: 'b' })).status).toBe(
    403,
  )
})

test('it serves for an hour, and not spelled otherwise', async () => {
  expect((await world.act(`${token}=`, 'GET', '/v1/tasks')).status).toBe(401)
  world.broker.clock.advance(3_600_000)
  expect((await world.act(token, 'GET', '/v1/tasks')).status).toBe(401)
})
