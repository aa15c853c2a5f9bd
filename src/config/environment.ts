import { parseMasterKey } from '../secrets/master-key-text.ts'
import type { Report } from './fault.ts'
import { databaseUrlFault } from './values.ts'

export type Env = Record<string, string | undefined>

/** What a variable says: `value` is null where it is not given, or wrong and reported. */
interface Given<Value> {
  given: boolean
  value: Value | null
}

export interface Environment {
  databaseUrl: Given<string>
  port: Given<number>
  masterKey: Given<Buffer>
}

/** The variables that override the file. A variable that is set but empty is a mistake, not an absence: it is reported. */
export const readEnvironment = (env: Env, report: Report): Environment => {
  const read = <Value>(name: string, parse: (text: string) => Value | null, fault: string): Given<Value> => {
    const text = env[name]
    if (text === undefined) return { given: false, value: null }
    const value = parse(text)
    if (value === null) report(`$${name}`, text === '' ? 'is set, but empty' : fault)
    return { given: true, value }
  }
  return {
    databaseUrl: read(
      'DATABASE_URL',
      text => (databaseUrlFault(text) === null ? text : null),
      'must be a URL that begins with postgres://',
    ),
    port: read('HALLPASS_PORT', parsePort, 'must be a port: a whole number up to 65535'),
    masterKey: read(
      'HALLPASS_MASTER_KEY',
      parseMasterKey,
      'must be 32 bytes in base64, 44 characters, as `openssl rand -base64 32` prints them',
    ),
  }
}

const parsePort = (text: string): number | null =>
  /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : null
