import type { Principal } from '../attest/principal.ts'

/** Who asks, and in which request: what every decision row needs to name. */
export interface Asker {
  principal: Principal
  /** Set when the caller came with a Hallpass token: it may read, heartbeat and close this task, and nothing more. */
  token: { taskId: string; jti: string } | null
  requestId: string
  /** The caller's IP address, as far as the proxies are trusted. */
  address: string | null
  /** Thumbprint of the certificate that the connection's client showed (`x5t#S256`, RFC 8705 §3.1); null without mutual TLS. */
  certificate: string | null
}
