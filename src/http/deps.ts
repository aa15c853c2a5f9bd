import type { Logger } from 'pino'
import type { Attestor } from '../attest/attestor.ts'
import type { Config } from '../config.ts'
import type { TokenDeps } from '../mint/issue-token.ts'
import type { OrganisationDeps } from '../mint/x509/organisation.ts'
import type { Asker } from '../observe/asker.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Unproven } from '../observe/unproven.ts'
import type { Feed } from '../revoke/feed/feed.ts'
import type { IntrospectDeps } from '../revoke/introspect.ts'
import type { RevokeDeps } from '../revoke/revoke.ts'
import type { StatusListToken } from '../revoke/status-list/token.ts'
import type { Contract } from './contract.ts'
import type { Limits } from './limits.ts'
import type { PkiListDeps } from './pki-lists.ts'

/** What the doors need: the stories' own needs, and who says who asks. */
export interface HttpDeps extends TokenDeps, OrganisationDeps, IntrospectDeps, RevokeDeps {
  listen: Pick<Config['listen'], 'trustedProxies'>
  /** Where mutual TLS is spoken; null: nowhere. */
  mtlsPort: number | null
  hooks: Config['hooks']
  attestor: Attestor
  contract: Contract
  limits: Limits
  feed: Feed
  feedLimits: Config['feed']
  unproven: Unproven
  metrics: Metrics
  log: Logger
  /** What tells of certificates that have ended; null where the broker issues none. */
  pkiLists: Pick<PkiListDeps, 'crl' | 'ocsp'> | null
  /** The token of a status list; null where there is no such list, or no longer. */
  statusList: (id: string) => Promise<StatusListToken | null>
  /** Marks attestations that may be used once as used by this request; false where another was first. */
  useOnce: (asker: Asker) => Promise<boolean>
  /** Throws `unavailable` while this replica's clock is off. */
  mustBeRight: () => void
  /** Throws `unavailable` while the broker cannot serve. */
  ready: () => Promise<void>
}
