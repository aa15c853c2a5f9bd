import type { OidcSource } from '../../src/config.ts'
import { allowAll, ciSource, testIssuer } from './broker.ts'
import { startIssuer } from './issuer.ts'

/** People who operate the broker: whoever is of the group `sre` administers it, the others only read. */
export interface Staff {
  source: OidcSource
  /** A token of this person's sign-in, at that time. */
  signIn(sub: string, group: 'sre' | 'dev', now?: number): string
  close(): Promise<void>
}

export const staffPolicies = `${allowAll}
@id("sre-administers") permit (principal in Group::"staff/groups/sre", action == Action::"administer", resource);
@id("staff-reads") permit (principal is Operator, action == Action::"read", resource);
@id("sre-opens") permit (principal in Group::"staff/groups/sre", action in [Action::"open", Action::"open_child"], resource);`

export async function startStaff(): Promise<Staff> {
  const login = await startIssuer()
  return {
    source: ciSource(login.issuer, {
      name: 'staff',
      task: null,
      operators: { groupsClaim: 'groups', maxAge: 8 * 3_600_000 },
    }),
    signIn(sub, group, now = Date.now()) {
      const iat = Math.floor(now / 1000)
      return login.sign({ sub, aud: testIssuer, iat, exp: iat + 300, groups: [group] })
    },
    close: () => login.close(),
  }
}
