import { isDeepStrictEqual } from 'node:util'
import type { Answer } from './calls.ts'
import { done } from './tell.ts'

/** A step that did not come out as told. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed'
}

/** What an answer must be: its status, and the members of its body that matter. */
export interface Expected {
  status: number
  body: Record<string, unknown>
}

/** Does one step of the story, and goes on only if it came out as told. @returns the answer's body */
export async function step(
  told: string,
  expected: Expected,
  act: () => Promise<Answer>,
): Promise<Record<string, unknown>> {
  const since = performance.now()
  const answer = await act().catch(cause => {
    throw new StepFailed(`${told}: no answer`, { cause })
  })
  const ms = performance.now() - since
  const asTold =
    answer.status === expected.status &&
    Object.entries(expected.body).every(([name, value]) => isDeepStrictEqual(answer.body[name], value))
  if (!asTold)
    throw new StepFailed(`${told}: expected ${show(expected)}, and came out ${show(withoutToken(answer))}`)
  done(told, ms)
  return answer.body
}

const show = ({ status, body }: Answer): string => `${status} ${JSON.stringify(body)}`

const withoutToken = ({ status, body: { access_token, ...body } }: Answer): Answer => ({ status, body })
