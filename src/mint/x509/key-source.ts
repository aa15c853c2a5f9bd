import { type Csr, readCsr } from './csr.ts'
import { makePkcs12, mustBePassword, newLegacyKey } from './pkcs12.ts'

/** Where the key of a certificate comes from: from its owner, who asks with a request, or from the broker. */
export interface KeySource {
  /** Throws `malformed` for what no key can come from. Answers what is to be logged of it. */
  check(): Record<string, unknown>
  /** Has the certificate made for the key, which `check` has seen. */
  certify(
    make: (spki: Buffer) => Buffer,
    above: { chain: Buffer[]; taskId: string },
  ): Promise<Certified> | Certified
}

/** DER, one of the two. */
export type Certified = { certificate: Buffer; pkcs12: null } | { certificate: null; pkcs12: Buffer }

/** The key of a certificate signing request, of which nothing else is taken. */
export function requestedKey(pem: string): KeySource {
  let csr: Csr | null = null
  return {
    check() {
      csr = readCsr(pem)
      // What else it asks for is not granted: for whoever reads the log, and wonders.
      return { key: csr.key, ...(csr.asksFor.length > 0 && { ignored: csr.asksFor }) }
    },
    certify: make => ({ certificate: make((csr ?? readCsr(pem)).spki), pkcs12: null }),
  }
}

/** A key that the broker makes, sends once in a PKCS#12 file, and keeps nothing of. */
export function legacyKey(password: string): KeySource {
  return {
    check() {
      mustBePassword(password)
      return { format: 'pkcs12' }
    },
    async certify(make, { chain, taskId }) {
      const { privateKey, spki } = await newLegacyKey()
      const friendlyName = `hallpass ${taskId}`
      const pkcs12 = await makePkcs12({ privateKey, certificate: make(spki), chain, password, friendlyName })
      return { certificate: null, pkcs12 }
    },
  }
}
