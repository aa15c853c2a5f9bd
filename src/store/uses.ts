import type { Transaction } from './database.ts'

/** That a request used an attestation which may be used once. */
export interface Use {
  /** SHA-256, hex. */
  key: string
  requestId: string
  acceptableUntil: Date
}

const consume = {
  name: 'uses_consume',
  // DO UPDATE rather than DO NOTHING, so that the row of whoever was first comes back.
  text: `INSERT INTO attestation_uses AS u (use_key, request_id, acceptable_until)
    SELECT use_key, request_id, acceptable_until
    FROM jsonb_to_recordset($1::jsonb) AS r (use_key bytea, request_id uuid, acceptable_until timestamptz)
    ORDER BY use_key
    ON CONFLICT (use_key) DO UPDATE SET request_id = u.request_id
    RETURNING encode(use_key, 'hex') AS key, request_id`,
}

/**
 * Records the uses and answers, for each, whether it is this request's: the first one to come, on any replica, wins, and one
 * request may use its attestation in several transactions.
 */
export async function consumeUses(tx: Pick<Transaction, 'query'>, uses: Use[]): Promise<boolean[]> {
  if (uses.length === 0) return []
  const first = new Map<string, Use>()
  for (const use of uses) if (!first.has(use.key)) first.set(use.key, use)
  const rows = await tx.query<{ key: string; request_id: string }>(consume, [
    JSON.stringify(
      [...first.values()].map(use => ({
        use_key: `\\x${use.key}`,
        request_id: use.requestId,
        acceptable_until: use.acceptableUntil,
      })),
    ),
  ])
  const owner = new Map(rows.map(row => [row.key, row.request_id]))
  return uses.map(use => owner.get(use.key) === use.requestId)
}
