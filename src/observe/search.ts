import type { Database } from '../store/database.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import { type DecisionFilter, listDecisions } from '../store/decisions.ts'
import { type AdministerDeps, readAsAdministrator } from './administer.ts'
import type { Asker } from './asker.ts'

/** The decision log, newest first, for those who administer the broker. Throws `refused`. */
export function searchDecisions(
  deps: AdministerDeps & { db: Database },
  asker: Asker,
  filter: DecisionFilter,
  { cursor, limit }: { cursor: string | null; limit: number },
): Promise<{ items: DecisionRow[]; next: string | null }> {
  return readAsAdministrator(deps, asker, { decisions: filter }, async () => {
    const rows = await listDecisions(deps.db, filter, cursor, limit + 1)
    const items = rows.slice(0, limit)
    return { items, next: rows.length > limit ? (items.at(-1)?.id ?? null) : null }
  })
}
