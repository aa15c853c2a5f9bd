import { generateKeyPairSync } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { pino } from 'pino'
import { newId } from '../../../src/ids.ts'
import { kidOf } from '../../../src/mint/signing-key.ts'
import { authorityCertificate, rootCertificate } from '../../../src/mint/x509/authority-certificate.ts'
import type { CertificateSigner } from '../../../src/mint/x509/signer.ts'
import { signerOf } from '../../../src/mint/x509/signer-of.ts'
import { type Crl, type CrlDeps, crls } from '../../../src/revoke/x509/crl.ts'
import { type Entry, entryWriter, serialOf } from '../../../src/revoke/x509/entry.ts'
import { type CertificateRecord, followCertificates } from '../../../src/revoke/x509/follow.ts'
import { entryPages } from '../../../src/revoke/x509/pages.ts'
import { crlReasons } from '../../../src/revoke/x509/reasons.ts'
import { openDatabase } from '../../../src/store/database.ts'
import type { BenchDatabase } from '../database.ts'
import { type Figure, milliseconds } from '../report.ts'
import { uuidv7 } from '../rows.ts'
import { spreadOf } from '../statistics.ts'
import { moment } from '../work.ts'
import type { World } from '../world.ts'

const ended = 100_000
const credentialsEach = 10
const minute = 60_000
const day = 24 * 60 * minute

/** What one thing took, and the longest that nothing else had its turn meanwhile, in milliseconds. */
interface Took {
  took: number
  blocked: number
}

/**
 * Builds the CRL of an authority of which a hundred thousand certificates have ended: when a broker is first asked for it, and then each
 * time after one more has ended. Of a million, which the record does not have to be read for. All in this process, whose event loop is watched.
 */
export async function crl(world: World): Promise<Figure[]> {
  const signer = await newAuthority()
  const database = await world.createDatabase()
  const live = await fill(database, signer.kid)
  await database.settle()
  const db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  const rounds = world.quick ? 3 : 20
  const first: Took[] = []
  const changed: Took[] = []
  let bytes = 0
  try {
    for (let n = 0; n < (world.quick ? 1 : 5); n++) {
      const get = getter(signer, followCertificates({ db, clock: Date.now }))
      first.push(await watched(async () => mustHave(await get(), ended)))
    }
    const get = getter(signer, followCertificates({ db, clock: Date.now }))
    await get()
    for (let n = 0; n < rounds; n++) {
      await revoke(database, live[n] as string)
      changed.push(
        await watched(async () => {
          const crl = await get()
          mustHave(crl, ended + n + 1)
          bytes = crl.der.length
        }),
      )
    }
  } finally {
    await db.close()
  }

  const million: Took[] = []
  const record = recordOf(1_000_000)
  for (let n = 0; n < (world.quick ? 1 : 5); n++) {
    const get = getter(signer, record)
    million.push(await watched(async () => mustHave(await get(), 1_000_000)))
  }

  const took = (all: Took[]) => spreadOf(all.map(one => one.took))
  const blocked = (all: Took[]) => spreadOf(all.map(one => one.blocked))
  const told = (all: Took[]) =>
    `p50 ${milliseconds(took(all).median)} (${milliseconds(took(all).least)} to ${milliseconds(took(all).most)}), ` +
    `event loop held up for ${milliseconds(blocked(all).most)} at the most`
  return [
    {
      what: 'A CRL of 100,000 entries: record read, built and signed, each time after one more end',
      measured: `${told(changed)}, ${changed.length} times; ${(bytes / 1e6).toFixed(1)} MB`,
      limits: [
        { of: 'p50', ms: took(changed).median, most: 200 },
        { of: 'event loop', ms: blocked(changed).most, most: 20 },
      ],
    },
    {
      what: 'The same CRL, the first time that a broker is asked for it after its start',
      measured: `${told(first)}, ${first.length} starts`,
    },
    {
      what: 'A CRL of 1,000,000 entries: built and signed',
      measured: `${told(million)}, ${million.length} times`,
    },
  ]
}

async function watched(work: () => Promise<void>): Promise<Took> {
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  // The first delay is of the watching itself.
  await new Promise(resolve => setTimeout(resolve, 20))
  delays.reset()
  const from = moment()
  await work()
  const took = moment() - from
  // What held up its last turn is counted at the next.
  await new Promise(resolve => setTimeout(resolve, 5))
  delays.disable()
  return { took, blocked: delays.max / 1e6 - 1 }
}

function getter(signer: CertificateSigner, record: CertificateRecord): () => Promise<Crl> {
  const authority = { kid: signer.kid, signer, rootKid: 'root', withdrawnAt: null }
  const authorities: CrlDeps['authorities'] = {
    list: () => [authority],
    active: () => authority,
    roots: { published: () => [] },
  }
  const get = crls({ record, authorities, urls: { crl: kid => `https://hallpass.bench/pki/crl/${kid}` } })
  return async () => {
    const crl = await get({ kid: signer.kid, kind: 'complete' })
    if (!crl) throw new Error('there is no CRL')
    return crl
  }
}

/** An entry with its reason is 49 octets long. */
function mustHave({ der }: Crl, count: number): void {
  const entries = Math.floor(der.length / 49)
  if (entries < count || entries > count + 20) throw new Error(`the CRL has ${entries} entries, not ${count}`)
}

/** A record of which nothing has to be read. */
function recordOf(count: number): CertificateRecord {
  const write = entryWriter()
  const now = Date.now()
  const entries = new Map<string, Entry>()
  const pages = entryPages()
  for (let n = 0; n < count; n++) {
    const jti = newId()
    const reason = crlReasons.cessationOfOperation
    const entry = {
      der: write(serialOf(jti), now, reason),
      reason,
      at: now,
      changedAt: now,
      expiresAt: now + 15 * minute,
    }
    entries.set(jti, entry)
    pages.put(jti, entry)
  }
  return {
    read: async () => ({
      at: BigInt(Date.now()) * 1000n,
      of: () => ({ entries, complete: pages.complete, version: 1, withdrawnAt: null }),
    }),
  }
}

/** Ends half of the certificates with their tasks, and half one by one; answers some that have not ended. */
async function fill(db: BenchDatabase, kid: string): Promise<string[]> {
  const tasks = ended / credentialsEach
  await db.sql(
    `CREATE TABLE filling AS SELECT ${uuidv7('now()')} AS id, n FROM generate_series(1, ${tasks + 10}) n`,
  )
  await db.sql(
    `INSERT INTO tasks (id, trust, kind, ref, name_key, templated, principal, subject, state, close_reason, closed_at, context, bind,
        ver, rev, opened_at, deadline, root_id)
      SELECT id, 'ci', 'job', 'r', sha256(id::text::bytea), false, 'ci:a', 'ci:a', CASE WHEN n <= $1 THEN 'closed' ELSE 'open' END,
        CASE WHEN n <= $1 THEN 'completed' END, CASE WHEN n <= $1 THEN now() END, '{}', '{}', 1, 1, now(), now() + interval '1 hour', id
      FROM filling`,
    [tasks / 2],
  )
  await db.sql(
    `INSERT INTO credentials (jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at, revoked_at)
      SELECT ${uuidv7('now()')}, id, 1, 'x509', 's', '{a}', $1, id, now() - interval '1 minute', now() + interval '14 minutes',
        CASE WHEN n > $2 AND n <= $3 THEN now() END
      FROM filling, generate_series(1, ${credentialsEach})`,
    [kid, tasks / 2, tasks],
  )
  await db.sql(
    `WITH rows AS (
        SELECT *, row_number() OVER () AS n FROM (
          SELECT id AS task_id, NULL::uuid AS jti FROM tasks WHERE state = 'closed'
          UNION ALL SELECT NULL, jti FROM credentials WHERE revoked_at IS NOT NULL
        ) ends
      ), counter AS (
        UPDATE revocation_counter SET seq = seq + (SELECT count(*) FROM rows) RETURNING seq
      )
      INSERT INTO revocations (seq, at, task_id, state, ver, jti, reason, until)
      SELECT counter.seq - (SELECT count(*) FROM rows) + n, now(), task_id, CASE WHEN jti IS NULL THEN 'closed' END,
        CASE WHEN jti IS NULL THEN 1 END, jti, 'revoked', now() + interval '16 minutes'
      FROM rows, counter`,
  )
  await db.sql('DROP TABLE filling')
  const live = await db.sql<{ jti: string }>(
    `SELECT jti FROM credentials JOIN tasks ON id = task_id WHERE state = 'open' AND revoked_at IS NULL`,
  )
  return live.map(({ jti }) => jti)
}

async function revoke(db: BenchDatabase, jti: string): Promise<void> {
  await db.sql('UPDATE credentials SET revoked_at = now() WHERE jti = $1', [jti])
  await db.sql(
    `WITH counter AS (UPDATE revocation_counter SET seq = seq + 1 RETURNING seq)
      INSERT INTO revocations (seq, at, jti, reason, until) SELECT seq, now(), $1, 'revoked', now() + interval '16 minutes' FROM counter`,
    [jti],
  )
}

/** An authority as the broker makes them. */
async function newAuthority(): Promise<CertificateSigner> {
  const [above, own] = await Promise.all([newKey(), newKey()])
  const shared = {
    trustDomain: 'hallpass.bench',
    notBefore: Date.now() - day,
    notAfter: Date.now() + 30 * day,
  }
  const root = signerOf({ ...above, certificate: rootCertificate({ ...shared, kid: above.kid, key: above }) })
  const certificate = authorityCertificate({
    ...shared,
    issuer: root,
    publicKey: own.publicKey,
    kid: own.kid,
    urls: { crl: 'https://hallpass.bench/pki/crl/root' },
  })
  return signerOf({ ...own, certificate })
}

async function newKey() {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...pair, kid: await kidOf(pair.publicKey) }
}
