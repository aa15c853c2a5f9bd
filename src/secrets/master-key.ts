import { hkdfSync } from 'node:crypto'
import type { Config } from '../config.ts'
import { readKeyFile, readOrCreateKeyFile } from './key-file.ts'
import { masterKeyLength } from './master-key-text.ts'

/** The one secret from which all others are derived, or with which they are wrapped. Its bytes are out of reach from here. */
export interface MasterKey {
  /** 16 hexadecimal digits, public: tells which master key wrapped something, and nothing else of it. */
  id: string
  /** 32 bytes for this purpose alone (HKDF-SHA-256, RFC 5869). */
  derive(purpose: string): Buffer
}

/**
 * The configured master key; without one, `<dataDir>/master.key`, generated when it is not there yet.
 * @throws HallpassError `internal` where the file cannot be trusted or read.
 */
export const loadMasterKey = ({ masterKey, dataDir }: Pick<Config, 'masterKey' | 'dataDir'>): MasterKey =>
  masterKeyFrom(masterKey ?? readOrCreateKeyFile(dataDir))

/**
 * The same, without making one: for whoever must not start a broker's life by asking about it. null where there is none.
 * @throws HallpassError `internal` where the file cannot be trusted or read.
 */
export const readMasterKey = ({
  masterKey,
  dataDir,
}: Pick<Config, 'masterKey' | 'dataDir'>): MasterKey | null => {
  const secret = masterKey ?? readKeyFile(dataDir)
  return secret === null ? null : masterKeyFrom(secret)
}

/** @param secret 32 random bytes. */
export const masterKeyFrom = (secret: Buffer): MasterKey => {
  if (secret.length !== masterKeyLength) throw new RangeError('a master key has 32 bytes')
  const own = Buffer.from(secret)
  // RFC 5869 §3.1: without a salt, since the secret is uniformly random. `info` keeps the purposes apart.
  const expand = (info: string, length: number) => Buffer.from(hkdfSync('sha256', own, '', info, length))
  return {
    id: expand('hallpass/v1/id', 8).toString('hex'),
    derive: purpose => expand(`hallpass/v1/derive/${purpose}`, 32),
  }
}
