import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { Clock } from '../../src/clock.ts'
import { newId } from '../../src/ids.ts'
import type { Database } from '../../src/store/database.ts'
import { appendRevocations, type Revocation } from '../../src/store/revocations.ts'
import type { TaskState } from '../../src/store/task-record.ts'

const minute = 60_000

/** Authorities, tasks and certificates as rows, without a broker: as many as a test wants, in whatever state. */
export interface CertificateRows {
  sql(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** The row of an authority; its private key is none. */
  newAuthority(kid?: string): Promise<string>
  /** An open task below these, root first. */
  newTask(above?: string[]): Promise<string>
  /** Certificates of the task, 15 minutes long; answers their `jti`s. */
  mint(
    kid: string,
    task: string,
    more?: { count?: number; ver?: number; vers?: number[]; life?: number },
  ): Promise<string[]>
  /** Writes the task's row and the record. Below a task that is closed, all is: in one transaction, as the broker does it. */
  change(task: string, to: { state?: TaskState; ver?: number; reason?: string }): Promise<void>
  revoke(...jtis: string[]): Promise<void>
  withdraw(kid: string): Promise<void>
  close(): Promise<void>
}

export function certificateRows(url: string, db: Database, clock: Clock): CertificateRows {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  pool.on('error', () => {})
  const at = (more = 0) => new Date(clock() + more)
  const sql = async (text: string, values: unknown[] = []) => (await pool.query(text, values)).rows
  const until = () => at(75 * minute)

  return {
    sql,
    async newAuthority(kid = randomUUID()) {
      await sql(
        `INSERT INTO signing_keys (kid, alg, published_at, active_at, ttl_max, private_key, wrapped_by, use, chain, root_kid)
          VALUES ($1, 'ES256', $2, $2, 900000, '', 'nobody', 'x509', '{}', 'root')`,
        [kid, at()],
      )
      return kid
    },
    async newTask(above = []) {
      const id = newId()
      await sql(
        `INSERT INTO tasks (id, trust, kind, ref, name_key, templated, principal, subject, state, context, bind, ver, rev, opened_at,
            deadline, parent_id, root_id, path)
          VALUES ($1, 'ci', 'job', 'r', $7, false, 'ci:a', 'ci:a', 'open', '{}', '{}', 1, 1, $2, $3, $4, $5, $6)`,
        [id, at(), at(60 * minute), above.at(-1) ?? null, above[0] ?? id, above, Buffer.from(id)],
      )
      return id
    },
    async mint(kid, task, { count = 1, ver = 1, vers, life = 15 * minute } = {}) {
      const jtis = Array.from({ length: count }, newId)
      await sql(
        `INSERT INTO credentials (jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at, path_vers)
          SELECT jti, $2, $3, 'x509', 's', '{a}', $4, $2, $5, $6, $7 FROM unnest($1::uuid[]) AS c (jti)`,
        [jtis, task, ver, kid, at(), at(life), vers ?? null],
      )
      return jtis
    },
    async change(task, { state, ver, reason }) {
      await db.transaction(async tx => {
        const [row] = await tx.query<{ state: TaskState; ver: number }>(
          {
            name: 'test_change',
            text: `UPDATE tasks SET state = coalesce($2, state), ver = coalesce($3, ver), close_reason = $4,
                closed_at = CASE WHEN $4::text IS NOT NULL THEN $5::timestamptz END WHERE id = $1 RETURNING state, ver`,
          },
          [task, state ?? null, ver ?? null, state === 'closed' ? (reason ?? 'completed') : null, at()],
        )
        if (state === 'closed')
          await tx.query(
            {
              name: 'test_close_below',
              text: `UPDATE tasks SET state = 'closed', close_reason = 'parent_closed', closed_at = $2
                WHERE path @> ARRAY[$1::uuid] AND state <> 'closed'`,
            },
            [task, at()],
          )
        await appendRevocations(tx, [
          { at: at(), reason: reason ?? 'x', until: until(), taskId: task, ...row! },
        ])
      })
    },
    async revoke(...jtis) {
      await sql('UPDATE credentials SET revoked_at = $2 WHERE jti = ANY ($1)', [jtis, at()])
      const rows = jtis.map((jti): Revocation => ({ at: at(), reason: 'revoked', until: until(), jti }))
      await db.transaction(tx => appendRevocations(tx, rows))
    },
    async withdraw(kid) {
      await sql('UPDATE signing_keys SET withdrawn_at = $2, retired_at = $2, last_day = $3 WHERE kid = $1', [
        kid,
        at(),
        at(20 * minute),
      ])
      await db.transaction(tx =>
        appendRevocations(tx, [{ at: at(), reason: 'revoked', until: until(), kid }]),
      )
    },
    close: () => pool.end(),
  }
}
