import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { type Fault, placeOf, unitsOf } from './fault.ts'
import { depthOf, maxDepth, withoutComments } from './tokens.ts'

/** One file of the policy folder. */
export interface PolicyFile {
  name: string
  text: string
}

/** One policy as it stands in its file. */
export interface PolicySource {
  file: PolicyFile
  /** Where its text begins in the file, in UTF-16 units. */
  start: number
  text: string
  json: cedar.PolicyJson
}

/** Cuts a file into its policies. Whatever Cedar cannot parse, and every template, is a fault. */
export function cutFile(file: PolicyFile): { policies: PolicySource[]; faults: Fault[] } {
  if (!file.text.isWellFormed()) return { policies: [], faults: [at(file, 0, 'not valid Unicode')] }
  if (depthOf(file.text) > maxDepth)
    return { policies: [], faults: [at(file, 0, 'an expression is nested too deep')] }
  const parts = cedar.policySetTextToParts(file.text)
  if (parts.type === 'failure')
    return { policies: [], faults: parts.errors.map(error => parseFault(file, 0, error)) }

  const policies: PolicySource[] = []
  const faults: Fault[] = []
  for (const { text, start } of inOrder(file, [...parts.policies, ...parts.policy_templates])) {
    if (parts.policy_templates.includes(text)) {
      faults.push(
        at(file, start, 'templates are not supported: write the entity where `?principal` or `?resource` is'),
      )
      continue
    }
    const parsed = cedar.policyToJson(text)
    if (parsed.type === 'success') policies.push({ file, start, text, json: parsed.json })
    else faults.push(...parsed.errors.map(error => parseFault(file, start, error)))
  }
  return { policies, faults }
}

/** A fault at an offset (UTF-16 units) of a file. */
export const at = (
  file: PolicyFile,
  offset: number,
  message: string,
  policy: string | null = null,
): Fault => ({
  file: file.name,
  ...placeOf(file.text, offset),
  policy,
  message,
})

/** What Cedar says of a text that begins at `start` of the file, with Cedar's hint where it has one. */
export function parseFault(
  file: PolicyFile,
  start: number,
  error: cedar.DetailedError,
  policy: string | null = null,
): Fault {
  const bytes = error.sourceLocations?.[0]?.start ?? 0
  const hint = error.help ?? error.sourceLocations?.[0]?.label
  // Cedar names the policy by the name that it was handed over under, which is not the reader's.
  const message = error.message.replace(/^for policy `[^`]*`, /, '')
  return at(
    file,
    start + unitsOf(file.text.slice(start), bytes),
    hint ? `${message} (${hint})` : message,
    policy,
  )
}

/** Cedar returns the policies' texts as written, in no order of use, and without their places. */
function* inOrder(file: PolicyFile, texts: string[]): Generator<{ text: string; start: number }> {
  // Between two policies there is white space and comments only, and no policy is the beginning of another.
  const bare = withoutComments(file.text)
  // White space to Cedar's lexer (Unicode's property), U+0085 included, which JavaScript's \s is not.
  const next = /[^\s\u0085]/g
  let start = 0
  for (let left = texts.length; left > 0; left--) {
    next.lastIndex = start
    start = next.exec(bare)?.index ?? bare.length
    const text = texts.find(candidate => file.text.startsWith(candidate, start))
    if (text === undefined) throw new Error(`the policies of ${file.name} were not found in its text`)
    yield { text, start }
    start += text.length
  }
}
