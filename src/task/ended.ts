import type { JsonValue } from '../strict-json.ts'

/** How it ended, as far as an authority knows. */
export type Ending = 'completed' | 'failed' | 'cancelled'

/** One thing that is over, as an authority tells it: a job, a run with all its jobs, a pod, a ticket. */
export interface Ended {
  /** The word for it. */
  what: string
  ending: Ending
  /** What is told of it, under the names that claims of its attestation have; null for a claim that this event does not tell. */
  facts: Record<string, string | null>
  /** Placeholders that are its very own: a name without any of them is of something larger, which is not over yet. null: any will do. */
  own: readonly string[] | null
  /** Set where all that it holds is over too, and never comes back. */
  holds: Holding | null
  /** What placeholders that are not facts are paths into. */
  payload: JsonValue
}

/** A thing that holds others: what their names begin with is its own name. */
export interface Holding {
  /** Placeholders that each of its events fills, and each attestation of what it holds, with the same value. */
  told: readonly string[]
  /** Those without which the beginning of a name would hold more than this thing. */
  needed: readonly string[]
}

/** One attempt of a run of GitHub Actions: when it is run again, that is another attempt, with jobs of its own. */
export const githubRun: Holding = {
  told: ['repository', 'repository_id', 'repository_owner', 'repository_owner_id', 'run_id', 'run_attempt'],
  needed: ['run_id', 'run_attempt'],
}
