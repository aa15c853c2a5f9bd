import { randomUUID } from 'node:crypto'
import fc, { type Arbitrary } from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Hook } from '../../../src/config.ts'
import { HallpassError } from '../../../src/errors.ts'
import { readGeneric } from '../../../src/http/hooks/generic.ts'
import { readGithub } from '../../../src/http/hooks/github.ts'
import { readGitlab } from '../../../src/http/hooks/gitlab.ts'
import { readKubernetes } from '../../../src/http/hooks/kubernetes.ts'
import type { JsonValue } from '../../../src/http/hooks/payload.ts'
import { nameOf } from '../../../src/task/ended-name.ts'
import { renderRef } from '../../../src/task/job.ts'
import { runsOf } from '../../../src/task/runs.ts'
import {
  deliver,
  hook,
  hookSecret,
  type Payload,
  payload,
  payloadText,
  signature,
} from '../../support/authorities.ts'
import { ciSource, startTestBroker, type TestBroker } from '../../support/broker.ts'
import { tricky } from '../../support/client-arbitraries.ts'

const state = { path: 'issue.fields.status.name', completed: ['Done'], failed: [], cancelled: [] }
const ref = '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}'
const kinds: { of: Hook; payloads: Payload[]; events: string[] }[] = [
  {
    of: hook('github', { trust: 'ci', ref }),
    payloads: ['github-workflow-job', 'github-workflow-run', 'github-ping'],
    events: ['workflow_job', 'workflow_run', 'ping', 'push'],
  },
  {
    of: hook('gitlab', { trust: 'ci', ref: '{project_path}/{pipeline_id}/{job_id}' }),
    payloads: ['gitlab-job', 'gitlab-pipeline'],
    events: ['Job Hook'],
  },
  {
    of: hook('kubernetes', { trust: 'ci', ref: '{kubernetes.io.namespace}/{kubernetes.io.pod.uid}' }),
    payloads: ['kubernetes-pod', 'kubernetes-job'],
    events: ['x'],
  },
  {
    of: hook('generic', { ref: '{issue.key}', state }),
    payloads: ['jira-issue', 'circleci-job'],
    events: ['x'],
  },
]

/** Without texts that look like what a name must never be made of. */
const odd: Arbitrary<unknown> = fc
  .oneof(
    fc.constantFrom(null, true, 0, -1, 1.5, 1e308, 2 ** 53, '', [], {}, [[]], [null], { a: { b: [1] } }),
    fc.constantFrom(...tricky, 'completed', 'Done', 'success', 'x'.repeat(20_000), '\u{1f600}'.repeat(2_000)),
    fc.jsonValue(),
  )
  .filter(value => typeof value !== 'string' || !/undefined|null/.test(value))

/** The paths of everything in a payload. */
const pathsOf = (value: unknown, above: string[] = []): string[][] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([name, member]) => [
        [...above, name],
        ...pathsOf(member, [...above, name]),
      ])

/** A payload with a few things in it replaced or taken away. */
const spoiled = (name: Payload): Arbitrary<unknown> =>
  fc
    .array(fc.tuple(fc.constantFrom(...pathsOf(payload(name))), fc.oneof(fc.constant(undefined), odd)), {
      maxLength: 3,
    })
    .map(changes => {
      const made = payload(name)
      for (const [path, value] of changes) {
        const names = [...path]
        const last = names.pop() ?? ''
        let place: unknown = made
        for (const member of names) place = (place as Record<string, unknown> | undefined)?.[member]
        if (typeof place !== 'object' || place === null) continue
        if (value === undefined) delete (place as Record<string, unknown>)[last]
        else (place as Record<string, unknown>)[last] = value
      }
      return made
    })

const anything = (payloads: Payload[]): Arbitrary<unknown> =>
  fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(...payloads).chain(spoiled) },
    odd,
    fc.array(odd, { maxLength: 3 }),
  )

describe.each(kinds)('whatever $of.kind sends', ({ of, payloads, events }) => {
  const read = (json: JsonValue, event: string) =>
    of.state
      ? readGeneric(json, of.state)
      : of.kind === 'github'
        ? readGithub(json, () => event)
        : of.kind === 'gitlab'
          ? readGitlab(json, () => undefined)
          : readKubernetes(json, () => event)

  it('property: it is read, or refused as of the wrong shape; and every name is a whole one', () => {
    fc.assert(
      fc.property(anything(payloads), fc.constantFrom(...events), (json, event) => {
        try {
          for (const ended of read(json as JsonValue, event).ends) {
            const name = nameOf(of, { repository_owner_id: '4711' }, ended)
            if ('ref' in name) expect(name.ref).not.toMatch(/[{}]|undefined|null|\[object/)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(HallpassError)
          expect((error as HallpassError).code).toBe('invalid')
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('whatever is sent to a hook', () => {
  let broker: TestBroker
  beforeAll(async () => {
    broker = await startTestBroker({
      trust: [ciSource('https://ci.example', { name: 'ci' })],
      config: { hooks: kinds.map(({ of }) => of) },
    })
  })
  afterAll(() => broker?.close())

  const bytes: Arbitrary<string> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .constantFrom(...kinds.flatMap(({ payloads }) => payloads))
        .chain(spoiled)
        .map(json => JSON.stringify(json)),
    },
    fc.string({ unit: 'binary', maxLength: 200 }).map(text => text.toWellFormed()),
    fc
      .constantFrom(...kinds.flatMap(({ payloads }) => payloads))
      .map(payloadText)
      .chain(text => fc.nat(text.length).map(end => text.slice(0, end))),
    odd.map(value => JSON.stringify(value)),
    odd.map(value => new URLSearchParams({ payload: JSON.stringify(value) }).toString()),
  )

  it('property: an authentic delivery is answered as the contract says, never with a 5xx', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...kinds),
        bytes,
        fc.constantFrom(
          'application/json',
          'application/x-www-form-urlencoded',
          'application/cloudevents+json',
          'text/plain',
          'x',
        ),
        fc.constantFrom(...kinds.flatMap(({ events }) => events), '\u00e4', 'x'.repeat(500)),
        async ({ of }, body, type, event) => {
          const { status } = await deliver(broker, of.name, body, {
            'Content-Type': type,
            'X-GitHub-Event': event,
            'X-GitHub-Delivery': event,
            'X-Gitlab-Token': hookSecret,
            'X-Hub-Signature-256': signature(body),
          })
          expect([200, 400, 415, 422]).toContain(status)
        },
      ),
      { numRuns: 300 },
    )
    expect(broker.logged.filter(line => /"level":(50|60)/.test(line))).toEqual([])
  })

  it('property: one that is not authentic is 401, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...kinds), bytes, async ({ of }, body) => {
        const { status } = await deliver(broker, of.name, body, {
          'Content-Type': 'application/json',
          'X-Hub-Signature-256': signature(body, randomUUID()),
        })
        expect(status).toBe(401)
      }),
      { numRuns: 100 },
    )
  })
})

describe('the names of runs', () => {
  const value = fc.string({
    unit: fc.constantFrom('a', '1', '/', '%', '.', '-', '~', 'ä', '(', '*'),
    minLength: 1,
    maxLength: 5,
  })
  const claims = fc.record({ repository: value, run_id: value, run_attempt: value, check_run_id: value })

  it('property: a job falls under the end of its own run, and of no other', () => {
    const of = hook('github', { trust: 'ci', ref })
    const runs = runsOf({ hooks: [of], trust: [ciSource('https://ci.example')] })
    fc.assert(
      fc.property(claims, claims, (one, other) => {
        const facts = { repository: one.repository, run_id: one.run_id, run_attempt: one.run_attempt }
        const holds = { told: ['repository', 'run_id', 'run_attempt'], needed: ['run_id', 'run_attempt'] }
        const name = nameOf(
          of,
          {},
          { what: 'run', ending: 'failed', facts, own: ['run_id'], holds, payload: {} },
        )
        const keys = (of: typeof one) =>
          runs({ trust: 'ci', ref: renderRef({ ref }, of), templated: true }).map(key => key.toString('hex'))
        const isSameRun =
          one.repository === other.repository &&
          one.run_id === other.run_id &&
          one.run_attempt === other.run_attempt
        expect(keys(one)).toHaveLength(1)
        expect(keys(one)[0] === keys(other)[0]).toBe(isSameRun)
        // The beginning that is ended, and the beginning that is looked for, are the same text.
        const prefix = 'prefix' in name ? name.prefix : ''
        expect(renderRef({ ref }, other).startsWith(prefix)).toBe(isSameRun)
      }),
      { numRuns: 2000 },
    )
  })

  it('property: any ref, such as an operator may give, is looked up without a fault', () => {
    const runs = runsOf({
      hooks: [hook('github', { trust: 'ci', ref })],
      trust: [ciSource('https://ci.example')],
    })
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), text => {
        expect(runs({ trust: 'ci', ref: text, templated: true }).length).toBeLessThanOrEqual(1)
      }),
    )
    const job = { trust: 'ci', ref: 'a/runs/1/attempts/1/jobs/1', templated: true }
    expect(runs(job)).toHaveLength(1)
    expect(runs({ ...job, trust: 'other' })).toEqual([])
    expect(runs({ ...job, templated: false })).toEqual([])
  })
})
