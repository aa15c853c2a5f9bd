import pino from 'pino'
import { newId } from '../../src/ids.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import { appendRevocations, type Revocation } from '../../src/store/revocations.ts'

/** The record, written to directly: for tests that are about reading it. */
export interface TestRecord {
  /** In one transaction. */
  append(revocations: Revocation[]): Promise<void>
  rows(): Promise<{ seq: number; about: string }[]>
  close(): Promise<void>
}

export function openRecord(url: string): TestRecord {
  const db: Database = openDatabase({ url, log: pino({ level: 'silent' }) })
  return {
    append: revocations => db.transaction(tx => appendRevocations(tx, revocations)),
    async rows() {
      const rows = await db.query<{ seq: string; about: string }>(
        {
          name: 'test_record',
          text: 'SELECT seq, coalesce(task_id::text, jti::text, kid) AS about FROM revocations ORDER BY seq',
        },
        [],
      )
      return rows.map(({ seq, about }) => ({ seq: Number(seq), about }))
    },
    close: () => db.close(),
  }
}

/** An end of something that nobody has heard of. */
export function anEnd(
  more: Partial<{
    taskId: string
    state: 'open' | 'suspended' | 'closed'
    ver: number
    reason: string
    until: Date
  }> = {},
): Revocation {
  const at = new Date()
  return {
    at,
    taskId: newId(),
    state: 'closed',
    ver: 1,
    reason: 'completed',
    until: new Date(at.getTime() + 600_000),
    ...more,
  }
}

export function aRevokedCredential({
  jti = newId(),
  until = new Date(Date.now() + 600_000),
} = {}): Revocation {
  return { at: new Date(), jti, reason: 'revoked', until }
}

export function aWithdrawnKey(kid: string): Revocation {
  const at = new Date()
  return { at, kid, reason: 'revoked', until: new Date(at.getTime() + 600_000) }
}
