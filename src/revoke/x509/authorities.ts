import type { KeyState } from '../../mint/key-schedule.ts'
import type { CertificateSigner } from '../../mint/x509/signer.ts'

/** The authorities of this broker, as far as what they say of their certificates needs them. */
export interface Authorities {
  /** Those that may have signed what has not expired: prepared, active, retired and withdrawn ones, until their last day. */
  list(): (CertificateSigner & { withdrawnAt: Date | null; state: KeyState })[]
  /** The one that signs now. Throws `unavailable`. */
  active(): CertificateSigner
}

/** A root whose private key the broker has, and those of its authorities that were withdrawn and have not expired. */
export interface Root {
  signer: CertificateSigner
  withdrawn: WithdrawnAuthority[]
}

export interface WithdrawnAuthority {
  /** As the content of its INTEGER. */
  serial: Buffer
  at: Date
}
