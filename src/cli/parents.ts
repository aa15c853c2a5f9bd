import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import type { Principal } from '../attest/principal.ts'
import type { LoadedConfig } from '../config.ts'
import type { TaskView } from '../decide/decision.ts'
import { ownerFor } from '../task/view.ts'
import { CommandError, type Io } from './io.ts'

/** What policy reads of a task, as the API answers it. */
const record = z.object({
  id: z.string(),
  kind: z.string(),
  ref: z.string(),
  trust: z.string(),
  principal: z.string(),
  subject: z.string(),
  parent_id: z.string().nullable(),
  state: z.string(),
  context: z.record(z.string(), z.string()),
  opened_at: z.iso.datetime({ offset: true }),
})

/**
 * The task that a child is asked for below, as policy would see it when this principal asks. The files hold it and all tasks above it,
 * root first, each as `hallpass tasks show ID --json` prints it. Null without files.
 */
export const readParent = (
  io: Io,
  config: LoadedConfig,
  principal: Principal,
  files: readonly string[],
): TaskView | null => {
  let parent: TaskView | null = null
  for (const file of files) {
    const task = parsed(io, file)
    if (task.parent_id !== (parent?.id ?? null))
      throw new CommandError(
        parent === null
          ? `${file} has a parent: give each task above it, the root first`
          : `${file} is not a child of the task before it`,
        2,
      )
    const source = config.trust.find(({ name }) => name === task.trust)
    const templated = source?.kind === 'oidc' && source.task !== null
    parent = {
      id: task.id,
      kind: task.kind,
      state: task.state,
      context: task.context,
      subject: task.subject,
      owner: ownerFor({ ...task, templated }, { principal, token: null }),
      ...below(parent),
      openedAt: Date.parse(task.opened_at),
    }
  }
  return parent
}

/** Where a task stands that has this parent. */
export const below = (parent: TaskView | null): Pick<TaskView, 'depth' | 'path'> =>
  parent === null ? { depth: 0, path: [] } : { depth: parent.depth + 1, path: [...parent.path, parent.id] }

const parsed = (io: Io, file: string): z.infer<typeof record> => {
  try {
    const { success, data } = record.safeParse(JSON.parse(readFileSync(resolve(io.cwd, file), 'utf8')))
    if (success) return data
  } catch (error) {
    if (!(error instanceof SyntaxError))
      throw new CommandError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  throw new CommandError(`${file} is not a task as "hallpass tasks show ID --json" prints it`)
}
