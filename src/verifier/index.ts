/**
 * Checks access tokens and certificates of Hallpass in the services that accept them, and knows within milliseconds which are dead.
 *
 * @module
 */

export type { RouteOptions, VerifierBy } from './admission.ts'
export type { Auth, AuthBy, CertificateAuth, CredentialKind, TaskAuth } from './auth.ts'
export type { TaskVersion, TokenClaims } from './claims.ts'
export type { CertificateSource, ClientCertificate } from './client-certificate.ts'
export { createVerifier, type Verifier, type VerifierState } from './create-verifier.ts'
export {
  type AuthenticatedRequest,
  authOf,
  type ConnectRequest,
  type ConnectResponse,
  requireTask,
} from './express.ts'
export type { Disconnection } from './feed.ts'
export { withTask } from './fetch.ts'
export type { ForwardedCertificate } from './forwarded.ts'
export type { VerifierEvent, VerifierOptions } from './options.ts'
export type { FeedFault } from './record.ts'
export { type OAuthError, type RefusalCode, refusalCodes, VerifierRefusal } from './refusal.ts'
export type { CertificateUsage } from './task-certificate.ts'
