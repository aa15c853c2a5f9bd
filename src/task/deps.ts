import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import type { Ask, Decision } from '../decide/decision.ts'
import type { BlockList } from '../store/blocks.ts'
import type { Database } from '../store/database.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import type { Opened, Opening } from '../store/open.ts'
import type { ByName } from '../store/tasks.ts'
import type { RunsOf } from './runs.ts'

/** What the stories of tasks need. */
export interface TaskDeps {
  db: Database
  clock: Clock
  /** Puts a question to the policy set in force. Pure, and quick enough to be asked inside a transaction. */
  decide: (ask: Ask) => Decision
  /** Writes a decision that belongs to no transaction. */
  writeDecision: (row: DecisionRow) => Promise<void>
  findByName: ByName
  /** Opens a task; its name is claimed and its decision written in the same transaction. */
  open: (opening: Opening) => Promise<Opened>
  runsOf: RunsOf
  /** Who gets nothing new. */
  blocks: BlockList
  tasks: Config['tasks']
  trust: Config['trust']
}
