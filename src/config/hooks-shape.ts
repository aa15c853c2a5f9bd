import { z } from 'zod'
import { hookKinds } from './hook-kinds.ts'
import { section } from './section.ts'
import { refFault } from './task-template.ts'
import { text, trustNameFault } from './values.ts'

/** `issue.fields.status.name`: members of the payload, from the top. */
const pathFault = (value: string): string | null =>
  /^[^.\s{}\p{Cc}]+(\.[^.\s{}\p{Cc}]+)*$/u.test(value)
    ? null
    : 'must be names of members joined by dots, such as issue.fields.status.name'

const headerFault = (value: string): string | null =>
  /^[A-Za-z0-9-]{1,64}$/.test(value) ? null : 'must be the name of a header'

const values = () => z.array(text()).default([])

/** Which states of the authority's own mean that the task is over, and how it ended. */
const state = section({ path: text(pathFault), completed: values(), failed: values(), cancelled: values() })
  .refine(
    ({ completed, failed, cancelled }) => completed.length + failed.length + cancelled.length > 0,
    'must say which states end a task: completed, failed or cancelled',
  )
  .refine(({ completed, failed, cancelled }) => {
    const all = [...completed, ...failed, ...cancelled]
    return new Set(all).size === all.length
  }, 'names a state twice')

/** An authority that closes tasks. What its kind asks for or forbids is in hook-rules.ts. */
export const hook = section({
  name: text(trustNameFault),
  kind: z.enum(hookKinds),
  secret: text().optional(),
  secret_file: text().optional(),
  trust: text().optional(),
  ref: text(refFault).optional(),
  header: text(headerFault).optional(),
  state: state.optional(),
})
