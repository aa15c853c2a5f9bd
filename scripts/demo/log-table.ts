import { StepFailed } from './step.ts'
import { table } from './tell.ts'

interface Row {
  at: string
  principal: string | null
  action: string
  decision: string
  code: string | null
  policies: string[]
  asked: { scope?: string; patch?: Record<string, string>; outcome?: string; hook?: string }
}

/** What the story must have left in the log. */
const expected = [
  'open allow',
  'mint allow',
  'mint deny refused',
  'change_context allow',
  'mint deny context_drift',
  'mint allow',
  'close allow',
  'mint deny task_closed',
]

/** Shows the decision log, oldest first. Throws StepFailed where it does not tell the story. */
export function logTable(items: unknown): void {
  const rows = (items as Row[]).toReversed()
  table(
    ['ms', 'who', 'action', 'asked', 'decision', 'by'],
    rows.map(row => [
      String(Date.parse(row.at) - Date.parse(rows[0]?.at ?? '')),
      row.principal ?? `the authority ${row.asked.hook}`,
      row.action,
      asked(row),
      row.decision,
      row.policies.join(' ') || (row.code ?? ''),
    ]),
    row => (row.includes('deny') ? 'red' : null),
  )
  const told = rows.map(({ action, decision, code }) => [action, decision, code].filter(Boolean).join(' '))
  if (told.toSorted().join() !== expected.toSorted().join())
    throw new StepFailed(`the decision log: expected ${expected.join(', ')}, found ${told.join(', ')}`)
}

function asked({ asked: { scope, patch, outcome } }: Row): string {
  if (patch) return Object.entries(patch).flat().join(' = ')
  return scope ?? outcome ?? ''
}
