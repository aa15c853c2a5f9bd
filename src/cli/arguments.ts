import { type Command, InvalidArgumentError, Option } from 'commander'
import { isId } from '../ids.ts'

/** A task's ID or a credential's `jti`. */
export const id = (text: string): string => {
  if (!isId(text)) throw new InvalidArgumentError('It is not a UUID in lower case.')
  return text
}

/** Adds what every list takes. */
export const paged = (command: Command): Command =>
  command
    .addOption(new Option('--limit <count>', 'at most this many').argParser(count))
    .option('--cursor <cursor>', 'go on after the page before')

export interface PageOptions {
  limit?: string
  cursor?: string
}

const count = (text: string): string => {
  if (!/^[1-9][0-9]{0,2}$/.test(text) || Number(text) > 200) {
    throw new InvalidArgumentError('It is not a whole number from 1 to 200.')
  }
  return text
}
