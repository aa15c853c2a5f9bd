import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { Clock } from '../../src/clock.ts'
import { firstIdAt, newId } from '../../src/ids.ts'
import type { Database } from '../../src/store/database.ts'
import { appendRevocations, type Revocation } from '../../src/store/revocations.ts'

/** Places in each list. */
export const listSize = 4_096
const minute = 60_000

interface List {
  id: string
  kid: string
}

/** Lists, tasks and credentials as rows, without a broker: as many as a test wants, in whatever state. */
export interface StatusRows {
  sql(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** A list of a key of its own, with nothing in it yet; `life` in milliseconds. */
  newList(more?: { life?: number }): Promise<List>
  /** An open task below these, root first. */
  newTask(above?: string[]): Promise<string>
  /** Credentials of the task at those places; answers their `jti`s, which are of the moment `at`. */
  mint(
    list: List,
    task: string,
    places: number[],
    more?: { vers?: number[] | null; at?: number },
  ): Promise<string[]>
  /** Adds to the revocation record. */
  append(
    ...rows: ({ taskId: string; state: 'open' | 'closed'; ver: number } | { kid: string })[]
  ): Promise<void>
  end(...tasks: string[]): Promise<void>
  revoke(...jtis: string[]): Promise<void>
  close(): Promise<void>
}

export function statusRows(url: string, db: Database, clock: Clock): StatusRows {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  pool.on('error', () => {})
  const at = (more = 0) => new Date(clock() + more)
  const sql = async (text: string, values: unknown[] = []) => (await pool.query(text, values)).rows

  const record = (rows: object[]) =>
    db.transaction(tx =>
      appendRevocations(
        tx,
        rows.map(row => ({ at: at(), reason: 'x', until: at(15 * minute), ...row }) as Revocation),
      ),
    )

  return {
    sql,
    async newList({ life = 31 * minute } = {}) {
      const list = { id: newId(), kid: randomUUID() }
      await sql('INSERT INTO status_lists (id, kid, size, opened_at, ends_at) VALUES ($1, $2, $3, $4, $5)', [
        list.id,
        list.kid,
        listSize,
        at(),
        at(life),
      ])
      return list
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
    async mint(list, task, places, { vers = null, at: minted = Date.now() } = {}) {
      const jtis = places.map(() => firstIdAt(minted).slice(0, 14) + newId().slice(14))
      await sql(
        `INSERT INTO credentials (jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at, path_vers,
            status_list, status_idx)
          SELECT jti, $2, 1, 'jwt', 's', '{a}', $3, $2, $4, $5, $6, $7, idx FROM unnest($1::uuid[], $8::int[]) AS c (jti, idx)`,
        [jtis, task, list.kid, at(), at(15 * minute), vers, list.id, places],
      )
      return jtis
    },
    append: (...rows) => record(rows),
    async end(...tasks) {
      await sql(
        `UPDATE tasks SET state = 'closed', close_reason = 'completed', closed_at = $2 WHERE id = ANY ($1)`,
        [tasks, at()],
      )
      await record(tasks.map(taskId => ({ taskId, state: 'closed', ver: 1 })))
    },
    async revoke(...jtis) {
      await sql('UPDATE credentials SET revoked_at = $2 WHERE jti = ANY ($1)', [jtis, at()])
      await record(jtis.map(jti => ({ jti })))
    },
    close: () => pool.end(),
  }
}
