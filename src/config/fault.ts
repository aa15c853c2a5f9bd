/** One thing that is wrong with the configuration. Neither part ever holds a value that could be secret. */
export interface Fault {
  /** Where: `trust[2].issuer` in the file, `$HALLPASS_PORT` in the environment, or a place in the file's text. */
  path: string
  message: string
}

export type Report = (path: string, message: string) => void

/** All that is wrong with the configuration, at once (contract §1). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: Fault[]

  constructor(faults: Fault[]) {
    super(`The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:
${faults.map(fault => `  ${fault.path}: ${fault.message}`).join('\n')}`)
    this.faults = faults
  }
}

/**
 * `['trust', 2, 'issuer']` as `trust[2].issuer`. A key that is no plain word is quoted; one that could be a misplaced
 * secret (a connection string written where a key belongs) is not repeated at all.
 */
export const pathText = (path: readonly PropertyKey[]): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    const key = String(part)
    if (/^[A-Za-z0-9_-]{1,64}$/.test(key)) return text === '' ? key : `${text}.${key}`
    return `${text}[${key.length > 256 || key.includes('@') ? '…' : JSON.stringify(key)}]`
  }, '')
