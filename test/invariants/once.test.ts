import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  act,
  claimsOf,
  isActive,
  mint,
  minted,
  opened,
  pick,
  type Scene,
  startScene,
} from '../support/scene.ts'

/** Order of the P-256 group: the signatures (r, s) and (r, n − s) verify alike. */
const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

function twinOf(token: string): string {
  const [header, payload, signature = ''] = token.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  const s = BigInt(`0x${bytes.subarray(32).toString('hex')}`)
  const twin = Buffer.from((n - s).toString(16).padStart(64, '0'), 'hex')
  return `${header}.${payload}.${Buffer.concat([bytes.subarray(0, 32), twin]).toString('base64url')}`
}

/** Spellings of the same bytes that lax readers of base64url take as well. */
const laxSpellings = (token: string): string[] => [
  `${token}=`,
  `${token}==`,
  `${token}\n`,
  otherLastBits(token),
]

/** 64 bytes end in a letter of which four bits are not used. */
function otherLastBits(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(token.at(-1) ?? '')
  return token.slice(0, -1) + alphabet[last ^ 1]
}

describe('with reuse: once', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await startScene({ replicas: 3, reuse: 'once' })
  })
  afterAll(() => scene?.close())

  const credentialsOf = async (taskId: string) =>
    (await scene.broker.sql('SELECT jti FROM credentials WHERE task_id = $1', [taskId])).length

  it.each([
    ['with a jti', () => ({ jti: crypto.randomUUID() })],
    ['without a jti', () => ({})],
  ])(
    'once: of 50 callers with one attestation %s, on three replicas and in both spellings of its signature, one is served',
    async (_, more) => {
      for (let round = 0; round < 3; round++) {
        const attestation = scene.job(undefined, more())
        const spellings = [attestation, twinOf(attestation)]
        const answers = await Promise.all(
          Array.from({ length: 50 }, (_, i) => mint(scene.replicas[i % 3]!, spellings[i % 2]!)),
        )
        const served = answers.filter(({ status }) => status === 200)
        const codes = answers.filter(({ status }) => status !== 200).map(({ body }) => body.code)
        expect(served.length).toBe(1)
        expect(new Set(codes)).toEqual(new Set(['attestation_reused']))
        expect(await credentialsOf(served[0]!.body.task_id)).toBe(1)
      }
    },
  )

  it('once: 50 callers with one attestation mint one credential of a task that is open already', async () => {
    const task = await opened(scene.broker, scene.agent('once', { jti: crypto.randomUUID() }))
    const attestation = scene.agent('once', { jti: crypto.randomUUID() })
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => mint(scene.replicas[i % 3]!, attestation, { task_id: task.id })),
    )
    expect(answers.filter(({ status }) => status === 200).length).toBe(1)
    expect(await credentialsOf(task.id)).toBe(1)
  })

  it('once: every other spelling of an attestation is refused, so that none is a fresh one', async () => {
    const attestation = scene.job()
    for (const spelling of laxSpellings(attestation))
      expect((await mint(scene.broker, spelling)).body).toMatchObject({ code: 'attestation_invalid' })
    await minted(scene.broker, attestation)
  })

  it('once: a jti names the attestation, whatever else is signed with it', async () => {
    const jti = crypto.randomUUID()
    await minted(scene.broker, scene.job('a', { jti }))
    expect((await mint(scene.broker, scene.job('b', { jti }))).body.code).toBe('attestation_reused')
    // Another issuer's attestation of that jti is another one.
    expect((await opened(scene.broker, scene.agent('x', { jti }))).state).toBe('open')
  })

  it('once: opening and minting in one call is one use, and there is no second', async () => {
    const attestation = scene.job()
    const first = await minted(scene.replicas[0]!, attestation)
    for (const replica of scene.replicas)
      expect((await mint(replica, attestation)).body).toMatchObject({
        error: 'invalid_request',
        code: 'attestation_reused',
      })
    expect(await credentialsOf(first.task_id)).toBe(1)
  })

  it('once: what was used at the token endpoint is refused under /v1 and at introspection, and the other way about', async () => {
    const used = scene.job()
    const { access_token, task_id } = await minted(scene.broker, used)
    for (const spelling of [used, twinOf(used)]) {
      const closed = await act(pick(scene.replicas), spelling, task_id, 'close')
      expect(closed).toMatchObject({ status: 401, body: { code: 'attestation_reused' } })
      const asked = await scene.broker.client.request('POST', '/oauth2/introspect', {
        token: spelling,
        form: { token: access_token },
      })
      expect(asked).toMatchObject({ status: 401, body: { code: 'attestation_reused' } })
    }
    expect(
      await isActive(scene.broker, scene.agent('service', { jti: crypto.randomUUID() }), access_token),
    ).toBe(true)

    const opener = scene.agent('opener', { jti: crypto.randomUUID() })
    const task = await opened(scene.broker, opener)
    expect((await mint(pick(scene.replicas), opener, { task_id: task.id })).body.code).toBe(
      'attestation_reused',
    )
  })

  it('once: 50 simultaneous calls under /v1 and /oauth2 are one use', async () => {
    const task = await opened(scene.broker, scene.agent('mixed', { jti: crypto.randomUUID() }))
    const attestation = scene.agent('mixed', { jti: crypto.randomUUID() })
    const body = { type: 'jwt', scope: 'deploy:prod', audience: 'https://deploy.example' }
    const statuses = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const replica = scene.replicas[i % 3]!
        if (i % 2 === 0) return (await mint(replica, attestation, { task_id: task.id })).status
        const path = `/v1/tasks/${task.id}/credentials`
        return (await replica.client.request('POST', path, { token: attestation, json: body })).status
      }),
    )
    expect(statuses.filter(status => status < 300).length).toBe(1)
    expect(await credentialsOf(task.id)).toBe(1)
  })

  it('once: a refused mint leaves the attestation to be used', async () => {
    const attestation = scene.agent('careless', { jti: crypto.randomUUID() })
    const task = await opened(scene.broker, scene.agent('careless', { jti: crypto.randomUUID() }))
    const refused = await mint(scene.broker, attestation, { task_id: crypto.randomUUID() })
    expect(refused.body.code).toBe('task_unknown')
    await minted(scene.broker, attestation, { task_id: task.id })
  })

  it('once: the use is remembered for as long as the attestation could be accepted', async () => {
    const attestation = scene.job(undefined, { jti: crypto.randomUUID() })
    await minted(scene.broker, attestation)
    const exp = claimsOf(attestation).exp * 1000
    // To the last moment: clock_skew past its exp.
    scene.broker.clock.advance(exp + 29_000 - scene.broker.clock.now())
    await scene.broker.sweep()
    expect((await mint(scene.broker, attestation)).body.code).toBe('attestation_reused')
    scene.broker.clock.advance(2_000)
    expect((await mint(scene.broker, attestation)).body.code).toBe('attestation_invalid')
  })
})

describe('one task for one job', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await startScene({ replicas: 3 })
  })
  afterAll(() => scene?.close())

  it('one task: 50 simultaneous one-call mints of one job, on three replicas, open exactly one', async () => {
    for (let round = 0; round < 3; round++) {
      const run = crypto.randomUUID()
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, i) => mint(scene.replicas[i % 3]!, scene.job(run))),
      )
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
      const ids = new Set(answers.map(({ body }) => body.task_id))
      expect(ids.size).toBe(1)
      const tasks = await scene.broker.sql('SELECT id FROM tasks WHERE ref LIKE $1', [`%/runs/${run}/%`])
      expect(tasks).toEqual([...ids].map(id => ({ id })))
    }
  })

  it('one task: opening by /v1 and minting in one call at the same moment meet in the same task', async () => {
    const run = crypto.randomUUID()
    const attestation = scene.job(run)
    const ids = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const replica = scene.replicas[i % 3]!
        if (i % 2 === 0) return (await minted(replica, attestation)).task_id
        const { body } = await replica.client.request<{ id: string }>('POST', '/v1/tasks', {
          token: attestation,
          json: {},
        })
        return body.id
      }),
    )
    expect(new Set(ids).size).toBe(1)
  })

  it('one task: 50 simultaneous openings under one name of an agent open exactly one, and another agent its own', async () => {
    const json = { kind: 'agent-run', ref: 'ticket-4711' }
    const open = (i: number, name: string) =>
      scene.replicas[i % 3]!.client.request<{ id: string }>('POST', '/v1/tasks', {
        token: scene.agent(name),
        json,
      })
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => open(i, i % 2 === 0 ? 'one' : 'two')),
    )
    expect(answers.filter(({ status }) => status === 201).length).toBe(2)
    expect(answers.filter(({ status }) => status === 200).length).toBe(48)
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(2)
  })

  it('one task: a job whose task is closed gets nothing more, whoever races for it', async () => {
    const run = crypto.randomUUID()
    const { task_id } = await minted(scene.broker, scene.job(run))
    await act(scene.broker, scene.job(run), task_id, 'close')
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => mint(scene.replicas[i % 3]!, scene.job(run))),
    )
    expect(new Set(answers.map(({ body }) => body.code))).toEqual(new Set(['task_closed']))
  })
})
