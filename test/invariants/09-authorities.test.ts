import { X509Certificate } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import type { TestBroker } from '../support/broker.ts'
import { certificateOn, derOf, faultOf, fetchTrust, pki, type Trust } from '../support/certificate-scene.ts'
import { pick, type Scene, startScene } from '../support/scene.ts'

const minute = 60_000
const day = 86_400_000
const year = 365 * day

/** Holds what it once learnt for as long as it may, and checks everything that is still valid with that. */
function watcher(scene: Scene) {
  const { now, advance } = scene.broker.clock
  const services: (Trust | null)[] = [null, null, null]
  const bundles = new Map<number, string>()
  let live: { der: Buffer; chain: Buffer[]; notAfter: number }[] = []
  const seen = { certificates: 0, authorities: new Set<string>(), roots: new Set<string>(), highest: 0 }

  async function learn(broker: TestBroker): Promise<Trust> {
    const trust = await fetchTrust(broker)
    const content = trust.roots.map(der => der.toString('base64')).join()
    // One number, one content: and no number without a change.
    expect(bundles.get(trust.sequence) ?? content).toBe(content)
    if (!bundles.has(trust.sequence)) expect([...bundles.values()]).not.toContain(content)
    bundles.set(trust.sequence, content)
    seen.highest = Math.max(seen.highest, trust.sequence)
    for (const der of trust.roots) seen.roots.add(new X509Certificate(der).fingerprint256)
    return trust
  }

  return {
    seen,
    bundles,
    async step(ms: number, { gap = false } = {}) {
      advance(ms)
      for (const replica of scene.replicas) await replica.sweep()
      for (const replica of scene.replicas) {
        const { status, body, text } = await certificateOn(scene, replica, { ttl: pick([60, 900]) })
        if (gap && status === 503) continue
        expect(status, text).toBe(201)
        const der = derOf(body.certificate)
        const chain = body.chain.map(derOf)
        const above = chain.map(one => new X509Certificate(one))
        const notAfter = Date.parse(new X509Certificate(der).validTo)
        for (const { validTo } of above) expect(notAfter).toBeLessThanOrEqual(Date.parse(validTo))
        seen.authorities.add(above[0]?.fingerprint256 ?? '')
        seen.certificates++
        live.push({ der, chain, notAfter })
      }
      // Of one moment, however slow the machine is.
      const at = now()
      live = live.filter(({ notAfter }) => at < notAfter)
      for (const [i, held] of services.entries()) {
        const trust = !held || now() >= held.until ? await learn(pick(scene.replicas)) : held
        services[i] = trust
        for (const { der, chain } of live) {
          // By the bundle, with the chain that came with it; and by ca.pem, with nothing else.
          expect(faultOf(der, { roots: trust.roots, authorities: chain }, at)).toBe(null)
          expect(faultOf(der, trust, at)).toBe(null)
        }
      }
    },
    /** Up to just before the next date of an authority or a root, and slowly past it. */
    async pastNextDate() {
      const [row] = await scene.broker.sql<{ next: Date }>(
        `SELECT min(d) AS next FROM (SELECT unnest(ARRAY[active_at, retired_at, last_day]) AS d FROM signing_keys WHERE use = 'x509'
          UNION ALL SELECT unnest(ARRAY[active_at, retired_at, last_day]) FROM ca_roots) AS dates WHERE d > $1`,
        [new Date(now())],
      )
      const ahead = row!.next.getTime() - now()
      await this.step(Math.max(ahead - 20_000 - Math.random() * 30_000, 1000))
      for (let i = 0; i < 2; i++) await this.step(20_000 + Math.random() * 38_000)
    },
  }
}

let scene: Scene
afterEach(() => scene?.close())

it('invariant 9: through months of rotations on three replicas every certificate verifies with what may still be held', async () => {
  scene = await startScene({ replicas: 3, config: { pki } })
  const watch = watcher(scene)
  for (let i = 0; i < 12; i++) {
    await watch.pastNextDate()
    if (i % 4 !== 2) continue
    const token = await scene.broker.operatorToken()
    const rotated = await pick(scene.replicas).client.request('POST', '/v1/keys/rotate', { token, json: {} })
    expect(rotated.status).toBe(200)
  }
  expect(watch.seen.authorities.size).toBeGreaterThan(3)
  // The root has been the same for all that time, and so was the number.
  expect(watch.bundles.size).toBe(1)

  const early = await scene.broker.sql(
    `SELECT k.kid FROM signing_keys k JOIN credentials c USING (kid) WHERE k.use = 'x509'
      AND k.published_at > (SELECT min(opened_at) FROM tasks) AND c.issued_at < k.published_at + interval '299 seconds'`,
  )
  expect(early).toEqual([])
  const late = await scene.broker.sql(
    'SELECT jti FROM credentials JOIN signing_keys k USING (kid) WHERE expires_at > k.last_day',
  )
  expect(late).toEqual([])
}, 240_000)

it('invariant 9: a root makes way for one that has been published for half a year, and goes when nothing needs it', async () => {
  scene = await startScene({ replicas: 2, config: { pki } })
  const watch = watcher(scene)
  await watch.step(1000)
  // Nobody was there for some years, but for a moment.
  await watch.step(4.45 * year, { gap: true })
  await watch.step(7 * minute)
  const [first] = [...watch.seen.roots]
  for (let i = 0; i < 60 && watch.bundles.size < 3; i++) await watch.pastNextDate()
  expect(watch.seen.roots.size).toBe(2)
  // It came, and the first one went.
  expect(watch.bundles.size).toBe(3)
  const { roots } = await fetchTrust(scene.broker)
  expect(roots.map(der => new X509Certificate(der).fingerprint256)).not.toContain(first)
  const [row] = await scene.broker.sql<{ published_at: Date; active_at: Date }>('SELECT * FROM ca_roots')
  expect(row!.active_at.getTime() - row!.published_at.getTime()).toBeGreaterThanOrEqual(179 * day)
}, 240_000)

describe('invariant 9: when every broker was off', () => {
  it.each([
    ['40 days', 'at once', 40 * day],
    ['70 days', 'at once', 70 * day],
    ['100 days', 'once everybody can know its authority', 100 * day],
    ['three years', 'once everybody can know its authority', 3 * year],
    ['all but 20 days of its root’s life', 'once everybody can know its authority', 10 * year - 20 * day],
    ['all but an hour of its root’s life', 'once everybody can know its authority', 10 * year - 60 * minute],
    ['longer than its root lived', 'once everybody can know its authority', 11 * year],
    ['25 years', 'once everybody can know its authority', 25 * year],
  ])(
    'for %s, one that starts issues %s',
    async (_, when, outage) => {
      scene = await startScene({ config: { pki } })
      const { broker } = scene
      expect((await certificateOn(scene, broker)).status).toBe(201)
      broker.clock.advance(outage)
      const started = await broker.replica()
      try {
        const before = await fetchTrust(started)
        const answer = await certificateOn(scene, started)
        expect(answer.status).toBe(when === 'at once' ? 201 : 503)
        if (answer.status === 503) {
          expect(answer.body.code).toBe('unavailable')
          expect(answer.headers.get('Retry-After')).toBe('10')
        }
        for (let i = 0; i < 7; i++) {
          broker.clock.advance(55_000)
          await started.sweep()
        }
        // And so for months on.
        for (let i = 0; i < 12; i++) {
          const { status, body, text } = await certificateOn(scene, started)
          expect(status, text).toBe(201)
          const trust = i === 0 ? before : await fetchTrust(started)
          const chain = body.chain.map(derOf)
          expect(
            faultOf(derOf(body.certificate), { roots: trust.roots, authorities: chain }, broker.clock.now()),
          ).toBe(null)
          expect(faultOf(derOf(body.certificate), trust, broker.clock.now())).toBe(null)
          broker.clock.advance(i === 0 ? 3 * minute : 5 * day)
          await started.sweep()
        }
        // What cannot be used any more is not kept for ever.
        const old = await broker.sql(
          `SELECT kid FROM signing_keys WHERE use = 'x509' AND published_at < $1`,
          [new Date(broker.clock.now() - 150 * day)],
        )
        expect(old).toEqual([])
      } finally {
        await started.close()
      }
    },
    120_000,
  )
})
