import type { Task } from '../../src/http/openapi.generated.d.ts'
import type { Certified, Court } from './court.ts'

/** A live certificate, and what ends it. */
export interface Story {
  certified: Certified
  end(): Promise<void>
}

const agent = '/agent/judged'

const bound = { context: { sha: 'a' }, bind: ['sha'] }
const rebased = async (court: Court, { id }: Task): Promise<void> =>
  done(await court.act(court.as(agent), 'PATCH', `/v1/tasks/${id}/context`, { sha: 'b' }))

/** By what a certificate ends before its time. */
export const ends: Record<string, (court: Court) => Promise<Story>> = {
  async 'its task is closed'(court) {
    const certified = await court.certified(agent)
    return { certified, end: () => acted(court, certified.task, 'close') }
  },
  async 'it is revoked itself'(court) {
    const certified = await court.certified(agent)
    return {
      certified,
      end: async () =>
        done(
          await court.act(
            await court.broker.operatorToken(),
            'POST',
            `/v1/credentials/${certified.jti}/revoke`,
            {},
          ),
        ),
    }
  },
  async 'what it rested on changes'(court) {
    const certified = await court.certified(agent, bound)
    return { certified, end: () => rebased(court, certified.task) }
  },
  async 'the parent of its task is closed'(court) {
    const parent = await court.open(agent, { ref: crypto.randomUUID() })
    const certified = await court.certified(agent, { parent_id: parent.id })
    return { certified, end: () => acted(court, parent, 'close') }
  },
  async 'what the parent of its task rested on changes'(court) {
    const parent = await court.open(agent, { ref: crypto.randomUUID(), ...bound })
    const certified = await court.certified(agent, { parent_id: parent.id })
    return { certified, end: () => rebased(court, parent) }
  },
  async 'its principal is stopped, and all that it has'(court) {
    const certified = await court.certified('/agent/stopped')
    const principal = 'spiffe://prod.example/agent/stopped'
    return {
      certified,
      end: async () =>
        done(
          await court.act(await court.broker.operatorToken(), 'POST', '/v1/revocations', {
            principal,
            reason: 'SEC-1',
            until: new Date(court.broker.clock.now() + 1_000).toISOString(),
          }),
        ),
    }
  },
}

export const acted = async (
  court: Court,
  { id }: Task,
  action: 'close' | 'suspend' | 'resume',
): Promise<void> => done(await court.act(court.as(agent), 'POST', `/v1/tasks/${id}/${action}`, {}))

/** The authority that signs now is withdrawn, with all that it signed. */
export async function withdrawAuthority(court: Court): Promise<void> {
  const { authorities } = await court.authority()
  const active = authorities.find(({ state }) => state === 'active')
  done(
    await court.act(await court.broker.operatorToken(), 'POST', `/v1/keys/${active?.kid}/withdraw`, {
      reason: 'SEC-2',
    }),
  )
}

function done({ status, text }: { status: number; text: string }): void {
  if (status >= 300) throw new Error(`not done: ${text}`)
}
