import fc from 'fast-check'
import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type CertificateRecord, followCertificates } from '../../../src/revoke/x509/follow.ts'
import { type CrlReason, crlReasons } from '../../../src/revoke/x509/reasons.ts'
import { statusOf } from '../../../src/revoke/x509/status.ts'
import { readCertificates, readTaskFacts } from '../../../src/store/certificates.ts'
import { type Database, openDatabase } from '../../../src/store/database.ts'
import { type CertificateRows, certificateRows } from '../../support/certificate-rows.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

const minute = 60_000
let database: TestDatabase
let db: Database
let rows: CertificateRows
let now = Date.now()
const clock = () => now
beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  rows = certificateRows(database.url, db, clock)
})
afterAll(async () => {
  await rows?.close()
  await db?.close()
  await database?.drop()
})

/** Contract §6, as it goes along: after each step, what has become of each certificate. */
interface Task {
  id: string
  parent: Task | null
  state: 'open' | 'suspended' | 'closed'
  ver: number
  reason: CrlReason
  suspendedAt: number
  resumedAt: number
}
interface Certificate {
  jti: string
  kid: number
  task: Task
  vers: Map<Task, number>
  issuedAt: number
  revoked: boolean
  is: 'good' | 'held' | 'ended'
  at: number
  reason: CrlReason | null
  released: number | null
}

const upwards = (task: Task): Task[] => (task.parent ? [task, ...upwards(task.parent)] : [task])
const life = 15 * minute

function step(certificate: Certificate, withdrawn: boolean): void {
  // Clocks differ.
  if (now >= certificate.issuedAt + life + 2 * minute) return
  // Root first: what closed with the tree closed for the reason of its top.
  const path = [...certificate.vers].reverse()
  const closed = path.find(([{ state }]) => state === 'closed')?.[0]
  const reasons: CrlReason[] = []
  if (withdrawn) reasons.push(crlReasons.caCompromise)
  if (certificate.revoked) reasons.push(crlReasons.privilegeWithdrawn)
  if (closed) reasons.push(...path.filter(([{ state }]) => state === 'closed').map(([{ reason }]) => reason))
  if (path.some(([task, ver]) => task.ver > ver)) reasons.push(crlReasons.superseded)
  if (reasons.length > 0) {
    if (certificate.is !== 'ended') certificate.at = now
    if (certificate.is !== 'ended' || withdrawn) certificate.reason = reasons[0] as CrlReason
    certificate.is = 'ended'
    return
  }
  const since = path.filter(([{ state }]) => state === 'suspended').map(([task]) => task.suspendedAt)
  if (since.length > 0) {
    Object.assign(certificate, { is: 'held', at: Math.min(...since), reason: crlReasons.certificateHold })
    return
  }
  if (certificate.is === 'held') certificate.released = now
  Object.assign(certificate, { is: 'good', at: 0, reason: null })
}

const task = fc.nat({ max: 4 })
const move = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('mint' as const), task) },
  { weight: 6, arbitrary: fc.tuple(fc.constantFrom('suspend' as const, 'resume' as const), task) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('change' as const), task) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom('complete' as const, 'risk' as const, 'revoke' as const), task),
  },
  { weight: 3, arbitrary: fc.tuple(fc.constantFrom('wait' as const, 'look' as const), task) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('withdraw' as const), fc.nat({ max: 1 })) },
)

test('whatever happens to a tree of tasks, in whatever order: every replica, however long it followed, lists what contract §6 says, since when it is so and why', async () => {
  const seen = new Set<string>()
  const followed = followCertificates({ db, clock })
  await fc.assert(
    fc.asyncProperty(fc.array(move, { minLength: 8, maxLength: 40, size: 'max' }), async moves => {
      const kids = [await rows.newAuthority(), await rows.newAuthority()]
      const withdrawn = [false, false]
      const tasks: Task[] = []
      for (const parent of [null, 0, 1, 2, 0]) {
        const above = parent === null ? null : (tasks[parent] as Task)
        const id = await rows.newTask(
          above
            ? upwards(above)
                .map(one => one.id)
                .reverse()
            : [],
        )
        tasks.push({ id, parent: above, state: 'open', ver: 1, reason: 0, suspendedAt: 0, resumedAt: 0 })
      }
      const certificates: Certificate[] = []
      for (const [what, n] of moves) {
        const one = tasks[n] as Task
        now += 7
        if (what === 'mint') {
          const path = upwards(one)
          const kid = certificates.length % 2
          if (path.some(({ state }) => state !== 'open') || withdrawn[kid]) continue
          const vers = path
            .slice(1)
            .map(({ ver }) => ver)
            .reverse()
          const [jti] = await rows.mint(kids[kid] as string, one.id, {
            ver: one.ver,
            ...(vers.length > 0 && { vers }),
          })
          certificates.push({
            jti: jti as string,
            kid,
            task: one,
            vers: new Map(path.map(each => [each, each.ver])),
            issuedAt: now,
            revoked: false,
            is: 'good',
            at: 0,
            reason: null,
            released: null,
          })
        } else if (what === 'suspend' && one.state === 'open') {
          Object.assign(one, { state: 'suspended', suspendedAt: now })
          await rows.change(one.id, { state: 'suspended' })
        } else if (what === 'resume' && one.state === 'suspended') {
          Object.assign(one, { state: 'open', resumedAt: now })
          await rows.change(one.id, { state: 'open' })
        } else if (what === 'change' && one.state !== 'closed') {
          await rows.change(one.id, { ver: ++one.ver })
        } else if ((what === 'complete' || what === 'risk') && one.state !== 'closed') {
          for (const each of tasks.filter(each => each.state !== 'closed' && upwards(each).includes(one)))
            Object.assign(each, { state: 'closed', reason: crlReasons.cessationOfOperation })
          if (what === 'risk') one.reason = crlReasons.privilegeWithdrawn
          await rows.change(one.id, { state: 'closed', reason: what === 'risk' ? 'risk' : 'completed' })
        } else if (what === 'revoke' && certificates[n] && !certificates[n].revoked) {
          certificates[n].revoked = true
          await rows.revoke(certificates[n].jti)
        } else if (what === 'wait') now += (n + 1) * 2 * minute
        else if (what === 'withdraw' && !withdrawn[n] && certificates.length > 2) {
          withdrawn[n] = true
          await rows.withdraw(kids[n] as string)
        } else if (what === 'look') await mustAgree(followed, kids, certificates, seen)
        for (const certificate of certificates) step(certificate, withdrawn[certificate.kid] as boolean)
      }
      await mustAgree(followed, kids, certificates, seen)
      await mustAgree(followCertificates({ db, clock }), kids, certificates, seen)
      await statusesAgree(certificates)
    }),
    { numRuns: 80 },
  )
  expect([...seen].sort()).toEqual(['2', '4', '5', '6', '8', '9', 'gone'])
}, 240_000)

async function mustAgree(
  record: CertificateRecord,
  kids: string[],
  certificates: Certificate[],
  seen: Set<string>,
) {
  const reading = await record.read()
  for (const [n, kid] of kids.entries()) {
    const { entries } = reading.of(kid)
    const own = certificates.filter(certificate => certificate.kid === n)
    for (const jti of entries.keys()) expect(own.map(one => one.jti)).toContain(jti)
    for (const certificate of own) {
      const entry = entries.get(certificate.jti)
      const isStaying = now < certificate.issuedAt + life + 10 * minute
      if (!isStaying) {
        seen.add('gone')
        // What has expired is looked for once a minute.
        if (now > certificate.issuedAt + life + 11 * minute) expect(entry).toBeUndefined()
      } else if (certificate.is !== 'good') {
        seen.add(String(certificate.reason))
        expect(entry).toMatchObject({ reason: certificate.reason, at: certificate.at })
      } else if (certificate.released !== null || entry) {
        seen.add('8')
        // Somebody else's clock may be behind: one that was minted soon after is released too.
        const { resumedAt } = upwards(certificate.task).toSorted(
          (a, b) => b.resumedAt - a.resumedAt,
        )[0] as Task
        const releasedAt = certificate.released ?? resumedAt
        expect(releasedAt).toBeGreaterThanOrEqual(certificate.issuedAt - 2 * minute)
        expect(entry).toMatchObject({ reason: 8, at: releasedAt })
      }
    }
  }
}

async function statusesAgree(certificates: Certificate[]) {
  const stored = await readCertificates(
    db,
    certificates.map(({ jti }) => jti),
  )
  expect(stored).toHaveLength(certificates.length)
  const facts = await readTaskFacts(
    db,
    stored.map(({ taskId }) => taskId),
  )
  for (const one of stored) {
    const { is, at, reason } = certificates.find(({ jti }) => jti === one.jti) as Certificate
    const status = statusOf(one, facts)
    expect(status).toMatchObject(is === 'ended' ? { is, at, reason } : is === 'held' ? { is, at } : { is })
  }
}
