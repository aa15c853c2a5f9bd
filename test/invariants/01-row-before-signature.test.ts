import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { issueToken, type TokenDeps } from '../../src/mint/issue-token.ts'
import type { Keyring } from '../../src/mint/keyring.ts'
import { type MintStory, mintStory } from '../support/mint-story.ts'
import { claimsOf, mint, minted, opened, type Scene, startScene } from '../support/scene.ts'

const committed = fileURLToPath(new URL('../support/committed.ts', import.meta.url))
const ask = {
  scopes: ['deploy:prod'],
  audiences: ['https://deploy.example'],
  ttl: null,
  taskVer: null,
  binding: null,
  certificate: null,
}

let scene: Scene
let story: MintStory

beforeAll(async () => {
  scene = await startScene()
  story = await mintStory(scene.broker)
})
afterAll(async () => {
  await story?.close()
  await scene?.close()
})

/** The deps, with a signing key that tells when it is touched; what `touched` throws, signing throws. */
function withKey(touched: () => void): TokenDeps {
  const { keyring } = story.deps
  const signer: Keyring['signer'] = alg => {
    const key = keyring.signer(alg)
    const { privateKey } = key
    return Object.defineProperty({ ...key }, 'privateKey', {
      get() {
        touched()
        return privateKey
      },
    })
  }
  return { ...story.deps, keyring: { ...keyring, signer } }
}

/** What others see in the database at this very moment, asked without letting this process go on. */
const rowsNow = (taskId: string): { credentials: number; decisions: number } =>
  JSON.parse(
    execFileSync(process.execPath, [committed, scene.broker.databaseUrl, taskId], { encoding: 'utf8' }),
  )

it('invariant 1: when the private key is first touched, row and decision are committed for all to see', async () => {
  const agent = scene.agent('one')
  const { id: taskId } = await opened(scene.broker, agent)
  const seen: object[] = []
  const deps = withKey(() => seen.push(rowsNow(taskId)))
  await issueToken(deps, await story.askerOf(agent), { ...ask, taskId })
  expect(seen.length).toBeGreaterThan(0)
  for (const rows of seen) expect(rows).toEqual({ credentials: 1, decisions: 1 })
})

it('invariant 1: a signature that fails leaves a row for a credential that nobody has', async () => {
  const agent = scene.agent('two')
  const { id: taskId } = await opened(scene.broker, agent)
  const deps = withKey(() => {
    throw new Error('the key is broken')
  })
  await expect(issueToken(deps, await story.askerOf(agent), { ...ask, taskId })).rejects.toThrow(
    'the key is broken',
  )
  expect(rowsNow(taskId)).toEqual({ credentials: 1, decisions: 1 })
})

it.each([
  ['is refused because the attestation was used', async () => 'reused' as const, 'used before'],
  ['never stands', async () => 'stale' as const, 'keeps changing'],
  ['fails', () => Promise.reject(new Error('the disk is full')), 'the disk is full'],
])('invariant 1: a reservation that %s signs nothing', async (_, reserve: TokenDeps['reserve'], message) => {
  const agent = scene.agent('three')
  const { id: taskId } = await opened(scene.broker, agent)
  let touched = 0
  const deps = { ...withKey(() => touched++), reserve }
  await expect(issueToken(deps, await story.askerOf(agent), { ...ask, taskId })).rejects.toThrow(message)
  expect(touched).toBe(0)
  expect(rowsNow(taskId)).toEqual({ credentials: 0, decisions: 0 })
})

it('invariant 1: a reservation whose commit fails hands out nothing', async () => {
  const { broker } = scene
  const agent = scene.agent('four')
  const task = await opened(broker, agent)
  await broker.sql(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'disk_full'; END $$`)
  // Checked as the very last thing, in the commit itself.
  await broker.sql(`CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON credentials DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fail()`)
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => mint(broker, agent, { task_id: task.id })),
  )
  await broker.sql('DROP TRIGGER at_commit ON credentials')
  for (const { status, headers, body } of answers) {
    expect({ status, retry: headers.get('Retry-After') }).toEqual({ status: 503, retry: '1' })
    expect(body).not.toHaveProperty('access_token')
  }
  expect(rowsNow(task.id)).toEqual({ credentials: 0, decisions: 0 })
})

it('invariant 1: every token that was handed out has its row, which says what the token says', async () => {
  const { broker } = scene
  const tokens = await Promise.all(
    Array.from({ length: 30 }, (_, i) => minted(broker, scene.job(`run-${i % 3}`), { ttl: String(60 + i) })),
  )
  for (const { access_token, task_id } of tokens) {
    const { jti, iat, exp, scope, aud, task_ver } = claimsOf(access_token)
    expect(
      await broker.sql(
        'SELECT task_id, task_ver, scope, audience, issued_at, expires_at FROM credentials WHERE jti = $1',
        [jti],
      ),
    ).toEqual([
      {
        task_id,
        task_ver,
        scope,
        audience: [aud],
        issued_at: new Date(iat * 1000),
        expires_at: new Date(exp * 1000),
      },
    ])
  }
})
