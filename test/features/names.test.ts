import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAttestor } from '../../src/attest/attestor.ts'
import type { OidcSource } from '../../src/config.ts'
import { nameKey } from '../../src/store/tasks.ts'
import { renderRef } from '../../src/task/job.ts'
import { ciSource, testIssuer } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { loadExample } from './example.ts'
import { providers } from './providers.ts'
import { jobClaims, startWorld, type World } from './world.ts'

let world: World
/** Another CI, whose jobs attest the same as the first one's. */
let twin: TestIssuer
beforeAll(async () => {
  twin = await startIssuer()
  world = await startWorld({ trust: [ciSource(twin.issuer, { name: 'ci-two' })] })
})
afterAll(async () => {
  await world?.close()
  await twin?.close()
})

describe('a name stands for one job, for ever', () => {
  test('once its task is closed, the job gets nothing more, however fresh its attestation and whatever it asks', async () => {
    const job = () => world.job({ run_id: '1' })
    const { task_id } = (await world.exchange(job())).body
    await world.act(job(), 'POST', `/v1/tasks/${task_id}/close`, {})
    for (const more of [{}, { task_id }, { scope: 'logs:read', audience: 'https://other.example' }])
      expect((await world.exchange(job(), more)).body).toMatchObject({
        error: 'invalid_grant',
        code: 'task_closed',
      })
    const rest = await world.act(job(), 'POST', `/v1/tasks/${task_id}/credentials`, {
      type: 'jwt',
      scope: 'a',
      audience: 'b',
    })
    expect([rest.status, rest.body.code]).toEqual([409, 'task_closed'])
    expect((await world.act(job(), 'POST', '/v1/tasks', {})).body.code).toBe('task_closed')
    // Its record can still be read, and closing it again changes nothing.
    expect(
      (await world.act(job(), 'POST', `/v1/tasks/${task_id}/close`, { outcome: 'failed' })).body.close_reason,
    ).toBe('completed')
  })

  test('another job with the same sub can neither mint for its task nor read, beat or close it', async () => {
    const { task_id } = (await world.exchange(world.job({ run_id: '2', check_run_id: 'a' }))).body
    const other = () => world.job({ run_id: '2', check_run_id: 'b' })
    expect((await world.exchange(other(), { task_id })).body.code).toBe('task_unknown')
    // Policy lets every workload read here, so the owner's rights are what is left to refuse: see the examples for 404.
    const mint = await world.act(other(), 'POST', `/v1/tasks/${task_id}/credentials`, {
      type: 'jwt',
      scope: 'a',
      audience: 'b',
    })
    expect([mint.status, mint.body.code]).toEqual([404, 'task_unknown'])
    expect((await world.exchange(other())).body.task_id).not.toBe(task_id)
  })

  test('an attestation of the same job under another sub is not its owner', async () => {
    const { task_id } = (await world.exchange(world.job({ run_id: '10' }))).body
    const other = () => world.job({ run_id: '10', sub: 'repo:acme/api:ref:refs/heads/main' })
    for (const more of [{}, { task_id }])
      expect((await world.exchange(other(), more)).body).toMatchObject({
        error: 'invalid_grant',
        code: 'task_unknown',
      })
    const opened = await world.act(other(), 'POST', '/v1/tasks', {})
    expect([opened.status, opened.body.code]).toEqual([404, 'task_unknown'])
  })

  test('a rerun of the job is another job', async () => {
    const ids = await Promise.all(
      ['1', '2'].map(
        async run_attempt => (await world.exchange(world.job({ run_id: '3', run_attempt }))).body.task_id,
      ),
    )
    expect(new Set(ids).size).toBe(2)
  })

  test('the same name from another source is another task, of another principal', async () => {
    const claims = jobClaims(Date.now(), { run_id: '4' })
    const [one, two] = [world.ci.sign(claims), twin.sign(claims)]
    const mine = (await world.exchange(one)).body.task_id
    const theirs = (await world.exchange(two)).body.task_id
    expect(theirs).not.toBe(mine)
    expect((await world.exchange(two, { task_id: mine })).body.code).toBe('task_unknown')
    const read = async (token: string, id: string) => (await world.act(token, 'GET', `/v1/tasks/${id}`)).body
    expect([(await read(one, mine)).principal, (await read(two, theirs)).principal]).toEqual([
      'ci:repo:acme/api:environment:production',
      'ci-two:repo:acme/api:environment:production',
    ])
    expect((await read(one, mine)).ref).toBe((await read(two, theirs)).ref)
    await world.act(one, 'POST', `/v1/tasks/${mine}/close`, {})
    expect((await world.exchange(two)).status).toBe(200)
  })

  test('many calls of one job at once open one task', async () => {
    const attestation = world.job({ run_id: '5' })
    const ids = await Promise.all(
      Array.from({ length: 20 }, async () => (await world.exchange(attestation)).body.task_id),
    )
    expect(new Set(ids).size).toBe(1)
  })

  test('a value that holds the template’s own characters passes for no part of it', async () => {
    const { task_id } = (await world.exchange(world.job({ repository: 'acme/api/runs/6', run_id: '7' }))).body
    const ref = (await world.act(world.as('/svc/deploy'), 'GET', `/v1/tasks/${task_id}`)).body.ref
    expect(ref).toBe('acme%2Fapi%2Fruns%2F6/runs/7/attempts/1/jobs/9')
  })

  test('an agent’s name is free again once its task is closed, and is its own', async () => {
    const first = await world.open('/agent/a', { ref: 'x' })
    const other = await world.open('/agent/b', { ref: 'x' })
    expect(other.id).not.toBe(first.id)
    await world.act(world.as('/agent/a'), 'POST', `/v1/tasks/${first.id}/close`, {})
    expect((await world.open('/agent/a', { ref: 'x' })).id).not.toBe(first.id)
  })

  test('an agent cannot open a task in another’s name, nor under a job’s', async () => {
    const principals = ['spiffe://prod.example/agent/b', 'ci:repo:acme/api', 'staff:ada']
    for (const principal of principals) {
      const { status } = await world.act(world.as('/agent/a'), 'POST', '/v1/tasks', {
        kind: 'x',
        ref: 'y',
        principal,
      })
      expect(status).toBe(422)
    }
    const ref = 'acme%2Fapi/runs/8/attempts/1/jobs/9'
    await world.open('/agent/a', { kind: 'ci-job', ref })
    const job = await world.exchange(world.job({ run_id: '8' }))
    expect(job.status).toBe(200)
    const wrong = await world.act(world.job({ run_id: '9' }), 'POST', '/v1/tasks', { ref })
    expect(wrong.status).toBe(422)
  })
})

describe('property: no two jobs share a name', () => {
  const value = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    // Whatever could be taken for a part of the template, or for something encoded already.
    fc
      .array(
        fc.constantFrom(
          '/',
          '%',
          '%2F',
          '.',
          '..',
          'runs',
          'jobs',
          '{',
          '}',
          '~',
          "'",
          '(',
          '*',
          '!',
          ':',
          ' ',
          'é',
        ),
        { minLength: 1, maxLength: 6 },
      )
      .map(parts => parts.join('')),
  )
  test.each(providers)('of $name', ({ name }) => {
    const [source] = loadExample(name).config.trust as [OidcSource]
    const template = source.task!
    const names = [...template.ref.matchAll(/\{([^{}]+)\}/g)].map(([, claim]) => claim!)
    const values = fc.tuple(...names.map(() => value))
    const tagsOf = (list: string[]) => Object.fromEntries(names.map((claim, n) => [claim, list[n]!]))
    fc.assert(
      fc.property(values, values, (one, two) => {
        const [first, second] = [renderRef(template, tagsOf(one)), renderRef(template, tagsOf(two))]
        expect(first === second).toBe(one.every((text, n) => text === two[n]))
        // What was put in can be taken out again.
        const pattern = new RegExp(
          `^${template.ref.replace(/[.]/g, '\\.').replace(/\{[^{}]+\}/g, '([A-Za-z0-9._~%-]+)')}$`,
        )
        expect(pattern.exec(first)?.slice(1).map(decodeURIComponent)).toEqual(one)
      }),
      { numRuns: 300 },
    )
  })

  test('nor do a job’s name and an agent’s, of whatever source, principal and ref', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 8 })
    const taskName = fc.record({ trust: text, principal: text, ref: text, templated: fc.boolean() })
    const means = ({
      trust,
      principal,
      ref,
      templated,
    }: {
      trust: string
      principal: string
      ref: string
      templated: boolean
    }) => JSON.stringify(templated ? { trust, ref } : { trust, principal, ref })
    fc.assert(
      fc.property(
        taskName,
        taskName,
        (one, two) => nameKey(one).equals(nameKey(two)) === (means(one) === means(two)),
      ),
    )
  })
})

test('property: no source can produce another’s principal, nor a SPIFFE ID, whatever subjects it signs', async () => {
  const issuers = [world.ci, twin]
  const sources = ['ci', 'ci-two'].map((name, n) => ciSource(issuers[n]!.issuer, { name, task: null }))
  const attestor = createAttestor({ trust: sources, issuer: testIssuer, clockSkew: 0, clock: Date.now })
  const subject = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
    fc.constantFrom(
      'ci:x',
      '-two:x',
      ':x',
      '//prod.example/agent/a',
      'spiffe://prod.example/agent/a',
      'hallpass:bootstrap',
      'x',
    ),
  )
  await fc.assert(
    fc.asyncProperty(subject, subject, async (one, two) => {
      const iat = Math.floor(Date.now() / 1000)
      const claims = { aud: testIssuer, iat, exp: iat + 60 }
      const [first, second] = await Promise.all(
        [one, two].map((sub, n) =>
          attestor.attest(issuers[n]!.sign({ ...claims, sub })).then(
            ({ id, trust }) => ({ id, trust }),
            () => null,
          ),
        ),
      )
      // U+0000 and half a surrogate pair are refused outright.
      if (!first || !second) return
      expect(first.id).not.toBe(second.id)
      for (const { id, trust } of [first, second]) {
        expect(id.slice(0, id.indexOf(':'))).toBe(trust)
        expect(id).not.toMatch(/^(spiffe|hallpass):/)
      }
    }),
    { numRuns: 150 },
  )
})
