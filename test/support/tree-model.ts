/** Contract §6 and what of §5 it rests on, said over again in as few words as will do: plain objects, no storage, no tree rows. */

export interface ModelTask {
  id: string
  parent: ModelTask | null
  state: 'open' | 'suspended' | 'closed'
  reason: string | null
  ver: number
  /** Milliseconds since the epoch, as all times here. */
  deadline: number
  /** Milliseconds; null: no heartbeat is expected. */
  timeout: number | null
  heardAt: number
}

export interface ModelToken {
  text: string
  jti: string
  task: ModelTask
  /** Of the task and those above it, as it was minted. */
  vers: Map<ModelTask, number>
  exp: number
  revoked: boolean
}

/** The task and those above it, upwards. */
export const upwards = (task: ModelTask): ModelTask[] =>
  task.parent === null ? [task] : [task, ...upwards(task.parent)]

export const isBelow = (task: ModelTask, top: ModelTask): boolean => upwards(task).slice(1).includes(top)

/** The task itself is past its time, swept or not. */
export const isOver = (task: ModelTask, now: number): boolean => now >= task.deadline || isSilent(task, now)

const isSilent = (task: ModelTask, now: number): boolean =>
  task.timeout !== null &&
  upwards(task).every(({ state }) => state === 'open') &&
  now >= task.heardAt + task.timeout

/** What stops a mint, or the opening of a child, by its code. */
export function stopped(task: ModelTask, now: number): 'task_closed' | 'task_suspended' | null {
  const path = upwards(task)
  if (task.state === 'closed' || path.some(one => isOver(one, now))) return 'task_closed'
  return path.some(({ state }) => state === 'suspended') ? 'task_suspended' : null
}

/** Contract §6, to the letter. */
export const isLive = (token: ModelToken, now: number): boolean =>
  now < token.exp &&
  !token.revoked &&
  [...token.vers].every(([task, ver]) => task.state === 'open' && task.ver <= ver)

/** No longer to be changed by anybody: closed, or past its deadline. */
export const isFixed = (task: ModelTask, now: number): boolean =>
  task.state === 'closed' || now >= task.deadline

export function close(tasks: ModelTask[], top: ModelTask, reason: string): void {
  for (const task of tasks) {
    if (task.state === 'closed' || (task !== top && !isBelow(task, top))) continue
    task.state = 'closed'
    task.reason = task === top ? reason : 'parent_closed'
  }
}

/** Silence counts from now for the task, and for what is below it and expected again. */
export function resume(tasks: ModelTask[], top: ModelTask, now: number): void {
  top.state = 'open'
  top.heardAt = now
  for (const task of tasks)
    if (isBelow(task, top) && upwards(task).every(({ state }) => state === 'open')) task.heardAt = now
}

/** What the sweeper closes: of each branch the topmost that is over, and all below. Answers those topmost. */
export function sweep(tasks: ModelTask[], now: number): ModelTask[] {
  const over = new Set(tasks.filter(task => task.state !== 'closed' && isOver(task, now)))
  const topmost = [...over].filter(
    task =>
      !upwards(task)
        .slice(1)
        .some(above => over.has(above)),
  )
  for (const task of topmost) close(tasks, task, now >= task.deadline ? 'expired' : 'silent')
  return topmost
}
