import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Database } from './database.ts'
import { failureOf } from './failure.ts'

/** A connection outside the pools, that hears notifications: whoever waits for one must not wait for mints. */
export interface Listener extends Pick<Database, 'query'> {
  close(): Promise<void>
}

export interface ListenerOptions {
  url: string
  channel: string
  onNotification: () => void
}

/** Milliseconds. A server that does not answer is known to be away before readers lose their patience. */
const answerMost = 3_000
/** Milliseconds that a polite goodbye may take. */
const goodbyeMost = 500

/** Connects and listens. Errors are HallpassErrors: `unavailable` for whatever a later try may mend. */
export async function openListener({ url, channel, onNotification }: ListenerOptions): Promise<Listener> {
  // Our own, so that it can be ended whatever state the client is in.
  const socket = new Socket()
  const client = new pg.Client({
    connectionString: url,
    stream: () => socket,
    connectionTimeoutMillis: answerMost,
    query_timeout: answerMost,
    statement_timeout: answerMost,
    keepAlive: true,
    application_name: 'hallpass-feed',
  })
  // Without a listener a lost connection would end the process; the next query reports it.
  client.on('error', () => {})
  client.on('notification', onNotification)

  async function close(): Promise<void> {
    await Promise.race([client.end().catch(() => {}), sleep(goodbyeMost, undefined, { ref: false })])
    socket.destroy()
  }

  try {
    await client.connect()
    await client.query(`LISTEN ${channel}`)
  } catch (error) {
    await close()
    throw failureOf(error)
  }
  return {
    async query({ name, text }, values) {
      try {
        return (await client.query({ name, text, values })).rows
      } catch (error) {
        throw failureOf(error)
      }
    },
    close,
  }
}
