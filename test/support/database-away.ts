import { expect } from 'vitest'
import { type DatabaseLink, linkTo } from './database-link.ts'
import { act, isActive, mint, minted, opened, startScene } from './scene.ts'

/**
 * A broker whose way to the database is cut, or swallows everything: each door that needs it answers 503 with Retry-After, nothing is
 * done, and once it is mended there is service again without a restart. What has to be ended goes into `ends`.
 */
export async function databaseAway(fault: 'cut' | 'freeze', ends: (() => Promise<unknown>)[]): Promise<void> {
  let link: DatabaseLink | undefined
  const scene = await startScene({
    through: async url => {
      link = await linkTo(url)
      return link.url
    },
  })
  ends.push(async () => link?.close(), scene.close)
  const { broker } = scene
  const owner = scene.agent('owner')
  const service = scene.agent('service')
  const task = await opened(broker, owner)
  const { access_token } = await minted(broker, owner, { task_id: task.id })
  const own = await minted(broker, owner, { task_id: task.id, audience: broker.issuer })
  const rows = () =>
    broker.sql(
      'SELECT (SELECT count(*) FROM credentials) AS credentials, (SELECT count(*) FROM tasks) AS tasks',
    )
  const before = await rows()
  // In the middle of transactions, too.
  const underWay = Array.from({ length: 20 }, () => mint(broker, owner, { task_id: task.id }))
  await Promise.race(underWay)

  link?.[fault]()
  const { client } = broker
  const answers = await Promise.all([
    mint(broker, owner, { task_id: task.id }),
    mint(broker, scene.job()),
    act(broker, owner, task.id, 'close'),
    act(broker, await broker.operatorToken(), task.id, 'suspend'),
    client.request('POST', '/oauth2/introspect', { token: service, form: { token: access_token } }),
    client.request('POST', '/oauth2/revoke', { token: service, form: { token: access_token } }),
    client.request('GET', `/v1/tasks/${task.id}`, { token: owner }),
    client.request('GET', `/v1/tasks/${task.id}`, { token: own.access_token }),
    client.request('GET', '/v1/decisions', { token: await broker.operatorToken() }),
    client.request('GET', '/readyz'),
  ])
  for (const { status, headers, text } of answers) {
    expect(status, text).toBe(503)
    expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0)
    expect(text).not.toMatch(/ECONN|socket|postgres|127\.0\.0\.1:|terminated|access_token/)
  }
  const settled = await Promise.all(underWay)
  expect(new Set([200, 503, ...settled.map(({ status }) => status)])).toEqual(new Set([200, 503]))
  expect((await client.request('GET', '/healthz')).status).toBe(200)
  expect((await client.request('GET', '/.well-known/jwks.json')).status).toBe(200)
  // A mint may have been committed whose answer was lost, never the other way about.
  const [was, is] = [before[0], (await rows())[0]] as Record<string, string>[]
  const handedOut = settled.filter(({ status }) => status === 200).length
  expect(Number(is?.credentials)).toBeGreaterThanOrEqual(Number(was?.credentials) + handedOut)
  expect(is?.tasks).toBe(was?.tasks)

  link?.mend()
  await expect
    .poll(async () => (await mint(broker, owner, { task_id: task.id })).status, { timeout: 20_000 })
    .toBe(200)
  expect(await isActive(broker, service, access_token)).toBe(true)
}
