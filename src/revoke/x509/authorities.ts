import type { CertificateSigner } from '../../mint/x509/signer.ts'

/** The authorities of this broker, as far as what they say of their certificates needs them. */
export interface Authorities {
  /** Those that may have signed what has not expired, until their last day, and withdrawn ones until their own certificate's. */
  list(): {
    kid: string
    signer: CertificateSigner
    rootKid: string
    withdrawnAt: Date | null
  }[]
  /** The one that signs now. Throws `unavailable`. */
  active(): { kid: string }
  roots: {
    /** `signer` is null where the broker does not have the private key. */
    published(): { kid: string; signer: CertificateSigner | null }[]
  }
}
