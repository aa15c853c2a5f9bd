import type { Database } from './database.ts'
import type { CloseReason, TaskState } from './task-record.ts'

type Reads = Pick<Database, 'query'>

/** The row of a certificate, as far as its status rests on it. Times are in milliseconds since the epoch. */
export interface StoredCertificate {
  jti: string
  /** The authority that signed it. */
  kid: string
  taskId: string
  taskVer: number
  /** `ver` of each ancestor of the task, root first, as it was minted; none at the root. */
  pathVers: number[]
  issuedAt: number
  expiresAt: number
  revokedAt: number | null
  /** When its authority was withdrawn. */
  withdrawnAt: number | null
}

/** A task, as far as the status of certificates rests on it. */
export interface TaskFacts {
  id: string
  /** Its ancestors, root first. */
  path: string[]
  state: TaskState
  ver: number
  closedAt: number | null
  closeReason: CloseReason | null
  /** What the revocation record still has of it, in order. */
  changes: { at: number; state: TaskState; ver: number }[]
}

interface CertificateRow {
  jti: string
  kid: string
  task_id: string
  task_ver: number
  path_vers: number[] | null
  issued_at: Date
  expires_at: Date
  revoked_at: Date | null
  withdrawn_at: Date | null
}

const certificate = 'jti, kid, task_id, task_ver, path_vers, issued_at, expires_at, revoked_at'
const found = `SELECT ${certificate.replace(/\w+/g, 'c.$&')}, k.withdrawn_at`
// Each OFFSET 0 keeps the planner from joining the other way about: what is asked about is few, the tables are large.
const touched = {
  name: 'certificates_touched',
  text: `WITH RECURSIVE tree AS (
      SELECT unnest($1::uuid[]) AS id
      UNION
      SELECT child.id FROM tree CROSS JOIN LATERAL (SELECT id FROM tasks WHERE parent_id = tree.id OFFSET 0) child
    ), touched AS (
      SELECT c.* FROM tree CROSS JOIN LATERAL (
        SELECT ${certificate} FROM credentials WHERE task_id = tree.id AND type = 'x509' AND expires_at > $3 OFFSET 0
      ) c
      UNION ALL
      SELECT c.* FROM unnest($2::uuid[]) AS one (jti) CROSS JOIN LATERAL (
        SELECT ${certificate} FROM credentials WHERE jti = one.jti AND type = 'x509' AND expires_at > $3 OFFSET 0
      ) c
    )
    ${found} FROM touched c LEFT JOIN signing_keys k ON k.kid = c.kid`,
}
const byJtis = {
  name: 'certificates_by_jtis',
  text: `${found} FROM credentials c LEFT JOIN signing_keys k ON k.kid = c.kid
    WHERE c.jti = ANY ($1::uuid[]) AND c.type = 'x509'`,
}
const facts = {
  name: 'certificates_tasks',
  text: `WITH members AS (
      SELECT DISTINCT member.id FROM tasks t CROSS JOIN LATERAL unnest(t.path || t.id) AS member (id) WHERE t.id = ANY ($1::uuid[])
    )
    SELECT t.id, t.path, t.state, t.ver, t.closed_at, t.close_reason, r.changes
    FROM members CROSS JOIN LATERAL (SELECT * FROM tasks WHERE id = members.id OFFSET 0) t CROSS JOIN LATERAL (
      SELECT json_agg(json_build_array(floor(extract(epoch FROM at) * 1000), state, ver) ORDER BY seq) AS changes
      FROM revocations WHERE task_id = t.id
    ) r`,
}
const withdrawn = {
  name: 'certificates_authority_withdrawn',
  text: `SELECT withdrawn_at FROM signing_keys WHERE kid = $1 AND use = 'x509'`,
}
const signedBy = {
  name: 'certificates_signed_by',
  text: `SELECT jti, expires_at, expires_at::text AS place, revoked_at FROM credentials
    WHERE type = 'x509' AND kid = $1 AND (expires_at, jti) > ($2::timestamptz, $3::uuid) ORDER BY expires_at, jti LIMIT $4`,
}

/** The certificates of these tasks and all below them, and these ones, that expire after `expired`. Throws `unavailable`. */
export async function readTouchedCertificates(
  db: Reads,
  { tasks, jtis, expired }: { tasks: string[]; jtis: string[]; expired: Date },
): Promise<StoredCertificate[]> {
  return (await db.query<CertificateRow>(touched, [tasks, jtis, expired])).map(certificateOf)
}

/** Those of these credentials that are certificates, expired ones too. Throws `unavailable`. */
export async function readCertificates(db: Reads, jtis: string[]): Promise<StoredCertificate[]> {
  return (await db.query<CertificateRow>(byJtis, [jtis])).map(certificateOf)
}

/** These tasks and all above them. What is no longer there is not among them. Throws `unavailable`. */
export async function readTaskFacts(db: Reads, tasks: string[]): Promise<Map<string, TaskFacts>> {
  interface Row {
    id: string
    path: string[]
    state: TaskState
    ver: number
    closed_at: Date | null
    close_reason: CloseReason | null
    changes: [number, TaskState, number][] | null
  }
  const rows = await db.query<Row>(facts, [tasks])
  return new Map(
    rows.map(row => [
      row.id,
      {
        id: row.id,
        path: row.path,
        state: row.state,
        ver: row.ver,
        closedAt: row.closed_at?.getTime() ?? null,
        closeReason: row.close_reason,
        changes: (row.changes ?? []).map(([at, state, ver]) => ({ at, state, ver })),
      },
    ]),
  )
}

/** When an authority was withdrawn; null where it was not, or is none. Throws `unavailable`. */
export async function readWithdrawn(db: Reads, kid: string): Promise<number | null> {
  const [row] = await db.query<{ withdrawn_at: Date | null }>(withdrawn, [kid])
  return row?.withdrawn_at?.getTime() ?? null
}

/** Where a page begins: after this certificate. */
export interface SignedPlace {
  expiresAt: string
  jti: string
}

export interface SignedPage {
  certificates: Pick<StoredCertificate, 'jti' | 'expiresAt' | 'revokedAt'>[]
  /** null after the last. */
  next: SignedPlace | null
}

/** A page of what an authority signed, by when it expires, after that place. Throws `unavailable`. */
export async function readSignedBy(
  db: Reads,
  kid: string,
  after: SignedPlace,
  most: number,
): Promise<SignedPage> {
  interface Row {
    jti: string
    expires_at: Date
    /** To the microsecond. */
    place: string
    revoked_at: Date | null
  }
  const rows = await db.query<Row>(signedBy, [kid, after.expiresAt, after.jti, most])
  const last = rows.at(-1)
  return {
    certificates: rows.map(({ jti, expires_at, revoked_at }) => ({
      jti,
      expiresAt: expires_at.getTime(),
      revokedAt: revoked_at?.getTime() ?? null,
    })),
    next: last && rows.length === most ? { expiresAt: last.place, jti: last.jti } : null,
  }
}

const certificateOf = (row: CertificateRow): StoredCertificate => ({
  jti: row.jti,
  kid: row.kid,
  taskId: row.task_id,
  taskVer: row.task_ver,
  pathVers: row.path_vers ?? [],
  issuedAt: row.issued_at.getTime(),
  expiresAt: row.expires_at.getTime(),
  revokedAt: row.revoked_at?.getTime() ?? null,
  withdrawnAt: row.withdrawn_at?.getTime() ?? null,
})
