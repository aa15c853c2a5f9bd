import { Client } from 'undici'
import { bearer } from '../callers.ts'
import { send } from '../send.ts'
import { moment } from '../work.ts'
import { brokerIssuer, type World } from '../world.ts'

/** When a close was asked for, and when its 200 was known (`moment`). */
export interface Closed {
  from: number
  until: number
}

export interface Closer {
  /**
   * Closes a task as its owner.
   *
   * @param owner the path of its SPIFFE ID
   */
  close(taskId: string, owner: string): Promise<Closed>
  end(): Promise<void>
}

export function createCloser({ agents }: World, origin: string): Closer {
  const client = new Client(origin, { pipelining: 1 })
  return {
    async close(taskId, owner) {
      const headers = bearer(agents.svid(owner, { audience: brokerIssuer }))
      // The connection is open before the time is taken.
      const { body: health } = await client.request({ method: 'GET', path: '/healthz' })
      await health.dump()
      const from = moment()
      const { status, at, body } = await send(client, {
        path: `/v1/tasks/${taskId}/close`,
        headers,
        body: '',
      })
      if (status !== 200) throw new Error(`a close answered ${status}: ${body()}`)
      return { from, until: at }
    },
    end: () => client.close(),
  }
}
