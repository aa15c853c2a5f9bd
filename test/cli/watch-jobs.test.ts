import { createHmac, timingSafeEqual } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { CommandError, Io } from '../../src/cli/io.ts'
import { watchJobs } from '../../src/cli/watch-jobs.ts'
import { hook, hookSecret, payload } from '../support/authorities.ts'
import { ciSource, startTestBroker } from '../support/broker.ts'
import { startIssuer } from '../support/issuer.ts'
import { type KubernetesObject, startKubernetes, type TestKubernetes } from '../support/kubernetes-api.ts'
import { mint, minted, subjectClaims } from '../support/scene.ts'

let api: TestKubernetes
let folder: string
let said: string[]
let complained: string[]
let stop: AbortController
let watching: Promise<void> | null

beforeEach(async () => {
  api = await startKubernetes()
  folder = mkdtempSync(join(tmpdir(), 'hallpass-watch-'))
  writeFileSync(join(folder, 'token'), `${api.token}\n`)
  writeFileSync(join(folder, 'secret'), `${hookSecret}\n`)
  ;[said, complained, stop, watching] = [[], [], new AbortController(), null]
})
afterEach(async () => {
  stop.abort()
  await watching?.catch(() => {})
  await api.close()
  rmSync(folder, { recursive: true, force: true })
})

const io = (env: Io['env'] = {}): Io => ({
  env,
  cwd: folder,
  clock: Date.now,
  fetch: globalThis.fetch,
  out: text => void said.push(text),
  err: text => void complained.push(text),
})

function watch(hookUrl: string, more: Partial<Parameters<typeof watchJobs>[1]> = {}): void {
  const options = { hook: hookUrl, server: api.url, tokenFile: 'token', secretFile: 'secret', ...more }
  watching = watchJobs(io(), options, stop.signal, { least: 5, most: 40 })
  watching.catch(() => {})
}

const pod = (uid: string, phase: string, more: Record<string, unknown> = {}): KubernetesObject => {
  const { object } = payload('kubernetes-pod', {
    'object.metadata.uid': uid,
    'object.metadata.name': `pod-${uid}`,
    'object.status.phase': phase,
    'object.spec.containers': [{ name: 'a', env: [{ name: 'PASSWORD', value: 'hunter2' }] }],
    ...more,
  })
  return object as KubernetesObject
}
const job = (uid: string, conditions: [string, string][]): KubernetesObject =>
  payload('kubernetes-job', {
    'metadata.uid': uid,
    'metadata.name': `job-${uid}`,
    'status.conditions': conditions.map(([type, status]) => ({ type, status, reason: 'x' })),
  }) as unknown as KubernetesObject

async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    if (tries > 1000) throw new Error(`was not seen: ${what}\n${complained.join('\n')}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

interface Told {
  type: string
  object: KubernetesObject
}

/** Something that takes deliveries, and remembers those whose signature is good. */
async function startSink(): Promise<{
  url: string
  told: Told[]
  ends: () => string[]
  answers: (number | 'hang-up')[]
  bodies: string[]
  server: Server
}> {
  const sink = { url: '', told: [] as Told[], answers: [] as (number | 'hang-up')[], bodies: [] as string[] }
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    const answer = sink.answers.shift() ?? 200
    if (answer === 'hang-up') return void request.socket.destroy()
    const given = Buffer.from(String(request.headers['x-hub-signature-256']))
    const made = Buffer.from(`sha256=${createHmac('sha256', hookSecret).update(body).digest('hex')}`)
    if (answer === 200 && given.length === made.length && timingSafeEqual(given, made)) {
      sink.bodies.push(body.toString())
      sink.told.push(...JSON.parse(body.toString()))
    }
    response.writeHead(answer, { 'Content-Type': 'application/json' }).end('{}')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  sink.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/kubernetes`
  const ends = () => sink.told.map(({ type, object }) => `${type} ${object.kind} ${object.metadata.uid}`)
  return Object.assign(sink, { server, ends })
}

describe('what is over in the cluster', () => {
  let sink: Awaited<ReturnType<typeof startSink>>
  beforeEach(async () => {
    sink = await startSink()
  })
  afterEach(() => {
    sink.server.closeAllConnections()
    sink.server.close()
  })

  test('is told, whether it ended before or while it is watched; what goes on is not', async () => {
    api.put(pod('1', 'Succeeded'))
    api.put(pod('2', 'Running'))
    api.put(job('3', [['Complete', 'True']]))
    api.put(job('4', [['FailureTarget', 'True']]))
    watch(sink.url)
    await until(() => sink.told.length === 2 && api.watchers() === 2)
    expect(sink.ends().toSorted()).toEqual(['MODIFIED Job 3', 'MODIFIED Pod 1'])
    api.put(pod('2', 'Failed'))
    api.put(pod('5', 'Pending'))
    api.put(
      job('4', [
        ['FailureTarget', 'True'],
        ['Failed', 'True'],
      ]),
    )
    await until(() => said.length === 4)
    expect(sink.ends().slice(2).toSorted()).toEqual(['MODIFIED Job 4', 'MODIFIED Pod 2'])
    expect(said).toContain('Pod payments/pod-2: failed')
    expect(complained).toEqual([])
  })

  test('is told once, however often it changes afterwards; what is deleted before it was over is gone', async () => {
    watch(sink.url)
    await until(() => api.watchers() === 2)
    api.put(pod('1', 'Running'))
    api.put(pod('1', 'Succeeded'))
    api.put(pod('1', 'Succeeded', { 'object.metadata.deletionTimestamp': 'x' }))
    api.remove('1')
    api.put(pod('2', 'Running', { 'object.metadata.deletionTimestamp': 'x' }))
    api.put(pod('3', 'Running'))
    api.remove('3')
    api.put(job('4', []))
    api.remove('4')
    api.put(pod('5', 'Failed'))
    await until(() => said.length >= 4)
    expect(sink.ends().toSorted()).toEqual([
      'DELETED Job 4',
      'DELETED Pod 3',
      'MODIFIED Pod 1',
      'MODIFIED Pod 5',
    ])
    expect(said).toContain('Pod payments/pod-3: deleted')
  })

  test('is told with what its name is made of, and nothing of what it runs', async () => {
    api.put(pod('1', 'Failed', { 'object.metadata.annotations': { secret: 'hunter2' } }))
    watch(sink.url)
    await until(() => sink.told.length === 1)
    expect(sink.bodies.join()).not.toContain('hunter2')
    expect(sink.told[0]).toEqual({
      type: 'MODIFIED',
      object: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: 'pod-1',
          namespace: 'payments',
          uid: '1',
          labels: expect.objectContaining({ 'job-name': 'migrate-4-2' }),
          ownerReferences: [
            { kind: 'Job', name: 'migrate-4-2', uid: 'c8a7c8b1-5f0a-4a47-9f5e-6c1c4a8d2b11' },
          ],
        },
        spec: {
          serviceAccountName: 'migrator',
          nodeName: 'ip-10-0-3-17.eu-central-1.compute.internal',
          template: { spec: {} },
        },
        status: { phase: 'Failed', conditions: [{ type: 'Ready', status: 'False' }] },
      },
    })
  })

  test('is found on every page of a list', async () => {
    for (let uid = 0; uid < 1203; uid++) api.put(pod(String(uid), uid % 100 === 2 ? 'Failed' : 'Running'))
    watch(sink.url)
    await until(() => sink.told.length === 13)
    const lists = api.requests.filter(({ path, query }) => path === '/api/v1/pods' && !query.has('watch'))
    expect(lists.map(({ query }) => query.has('continue'))).toEqual([false, true, true])
  })

  test('is looked for in one namespace, or with labels, if that was asked for', async () => {
    api.put(pod('1', 'Failed', { 'object.metadata.namespace': 'other' }))
    api.put(pod('2', 'Failed', { 'object.metadata.labels': { hallpass: 'yes' } }))
    api.put(pod('3', 'Failed'))
    watch(sink.url, { namespace: 'payments', selector: 'hallpass=yes' })
    await until(() => sink.told.length === 1 && api.watchers() === 2)
    expect(sink.ends()).toEqual(['MODIFIED Pod 2'])
    expect(new Set(api.requests.map(({ path }) => path))).toEqual(
      new Set(['/api/v1/namespaces/payments/pods', '/apis/batch/v1/namespaces/payments/jobs']),
    )
    expect(api.requests.every(({ query }) => query.get('labelSelector') === 'hallpass=yes')).toBe(true)
  })

  describe('and of the API server’s connection', () => {
    const relists = () =>
      api.requests.filter(({ path, query }) => path === '/api/v1/pods' && !query.has('watch')).length

    test('one that ends is begun again where it was, without a list', async () => {
      api.put(pod('1', 'Running'))
      api.put(pod('2', 'Running'))
      watch(sink.url)
      await until(() => api.watchers() === 2)
      api.put(pod('1', 'Failed'))
      await until(() => sink.told.length === 1)
      api.hangUp()
      api.put(pod('2', 'Succeeded'))
      await until(() => sink.told.length === 2)
      api.hangUp({ midLine: true })
      api.put(pod('3', 'Failed'))
      await until(() => sink.told.length === 3)
      expect(sink.ends()).toEqual(['MODIFIED Pod 1', 'MODIFIED Pod 2', 'MODIFIED Pod 3'])
      expect(relists()).toBe(1)
    })

    test.each(['status', 'event'] as const)(
      'where it was is gone (410 as %s): a list tells what was missed',
      async goneAs => {
        api.goneAs = goneAs
        for (const uid of ['1', '2', '3', '4']) api.put(pod(uid, uid === '4' ? 'Failed' : 'Running'))
        watch(sink.url)
        await until(() => api.watchers() === 2 && sink.told.length === 1)
        api.failWith = 503
        api.hangUp()
        api.put(pod('1', 'Succeeded'))
        api.remove('2')
        api.remove('4')
        api.put(pod('5', 'Failed'))
        api.compact()
        api.failWith = null
        await until(() => sink.told.length >= 4)
        expect(sink.ends().slice(1).toSorted()).toEqual(['DELETED Pod 2', 'MODIFIED Pod 1', 'MODIFIED Pod 5'])
        await until(() => api.watchers() === 2)
        api.put(pod('3', 'Failed'))
        await until(() => sink.told.length === 5)
      },
    )

    test('a bookmark moves where it goes on from, though nothing that is watched has changed', async () => {
      watch(sink.url)
      await until(() => api.watchers() === 2)
      api.put(pod('1', 'Running', { 'object.kind': 'Unrelated' }))
      api.compact()
      api.bookmark()
      await new Promise(resolve => setTimeout(resolve, 50))
      api.hangUp()
      await until(() => api.watchers() === 2)
      expect(relists()).toBe(1)
    })

    test('a token that is replaced is read again', async () => {
      watch(sink.url)
      await until(() => api.watchers() === 2)
      api.token = 'token-2'
      writeFileSync(join(folder, 'token'), 'token-2')
      api.hangUp()
      await until(() => api.watchers() === 2)
    })

    test('an error is told, and tried again', async () => {
      api.failWith = 500
      api.put(pod('1', 'Failed'))
      watch(sink.url)
      await until(() => complained.length > 3)
      expect(complained.join()).toContain(
        'Pods cannot be watched, and will be again: the API server answered 500',
      )
      api.failWith = null
      await until(() => sink.told.length === 1)
    })
  })

  describe('while the broker cannot be told', () => {
    test.each<[string, (number | 'hang-up')[]]>([
      ['is away', ['hang-up', 'hang-up']],
      ['has no storage', [503, 503, 503]],
      ['wants less', [429]],
      ['has another secret for a while', [401]],
      ['has no such hook for a while', [404]],
    ])('because it %s, it is told later, in order, and nothing is lost', async (_, answers) => {
      watch(sink.url)
      await until(() => api.watchers() === 2)
      sink.answers.push(...answers)
      for (const uid of ['1', '2', '3']) api.put(pod(uid, 'Failed'))
      await until(() => sink.told.length === 3)
      expect(sink.ends()).toEqual(['MODIFIED Pod 1', 'MODIFIED Pod 2', 'MODIFIED Pod 3'])
      expect(complained).toHaveLength(answers.length)
      expect(complained.join()).not.toContain(hookSecret)
    })

    test('what it refuses for good holds up nothing else', async () => {
      watch(sink.url)
      await until(() => api.watchers() === 2)
      sink.answers.push(422)
      api.put(pod('1', 'Failed'))
      api.put(pod('2', 'Failed'))
      await until(() => sink.told.length === 1)
      expect(sink.ends()).toEqual(['MODIFIED Pod 2'])
      expect(complained).toEqual(['an end was refused for good: it answered 422'])
    })

    test('it can be stopped', async () => {
      sink.answers.push(...Array<number>(1000).fill(503))
      api.put(pod('1', 'Failed'))
      watch(sink.url)
      await until(() => complained.length > 1)
      stop.abort()
      await expect(watching).resolves.toBeUndefined()
    })
  })
})

test('a pod that is killed ends its task: cluster, watcher and broker together', async () => {
  const cluster = await startIssuer()
  const ref = '{kubernetes.io.namespace}/pods/{kubernetes.io.pod.uid}'
  const broker = await startTestBroker({
    trust: [ciSource(cluster.issuer, { name: 'kubernetes', task: { kind: 'pod', ref, bind: [] } })],
    config: { hooks: [hook('kubernetes', { trust: 'kubernetes', ref })] },
  })
  try {
    const token = (uid: string) =>
      cluster.sign(
        subjectClaims('system:serviceaccount:payments:migrator', {
          'kubernetes.io': { namespace: 'payments', pod: { name: 'p', uid } },
        }),
      )
    const { task_id } = await minted(broker, token('uid-1'))
    api.put(pod('uid-1', 'Running'))
    watch(`${broker.url}/hooks/kubernetes`)
    await until(() => api.watchers() === 2)
    api.remove('uid-1')
    await until(() => said.length === 1)
    const [task] = await broker.sql('SELECT state, close_reason FROM tasks WHERE id = $1', [task_id])
    expect(task).toEqual({ state: 'closed', close_reason: 'cancelled' })
    expect((await mint(broker, token('uid-1'))).body.code).toBe('task_closed')
    api.put(pod('uid-2', 'Failed'))
    await until(() => said.length === 2)
    expect((await mint(broker, token('uid-2'))).body.code).toBe('task_closed')
    expect((await mint(broker, token('uid-3'))).status).toBe(200)
  } finally {
    await broker.close()
    await cluster.close()
  }
})

describe('it is wrongly called', () => {
  const fails = async (more: Record<string, string | undefined>, env: Io['env'] = {}) => {
    const options = { hook: 'https://h.example/hooks/k', server: api.url, secretFile: 'secret', ...more }
    const given = Object.fromEntries(
      Object.entries(options).filter(([, value]) => value !== undefined),
    ) as typeof options
    return watchJobs(io(env), given, stop.signal).then(
      () => null,
      (error: CommandError) => [error.exitCode, error.message],
    )
  }

  test.each<[string, Record<string, string | undefined>, RegExp]>([
    ['with a hook that is not https', { hook: 'http://hallpass.example/hooks/k' }, /--hook must be https/],
    ['with an API server that is not https', { server: 'http://10.0.0.1' }, /--server must be https/],
    ['with a namespace that is none', { namespace: '../../x' }, /--namespace/],
    ['in no cluster', { server: undefined }, /in no cluster/],
    ['without a secret', { secretFile: undefined }, /no secret/],
    ['with a secret that is not there', { secretFile: 'nowhere' }, /--secret-file cannot be read/],
    ['with an authority that is not there', { caFile: 'nowhere' }, /cannot be read \(ENOENT\)/],
  ])('%s', async (_, more, message) => {
    expect(await fails(more)).toEqual([expect.any(Number), expect.stringMatching(message)])
  })

  test('in a cluster without a service account', async () => {
    const env = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' }
    expect(await fails({ server: undefined }, env)).toEqual([
      1,
      expect.stringMatching(/ca.crt cannot be read/),
    ])
  })
})
