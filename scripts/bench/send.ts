import type { Dispatcher } from 'undici'
import type { Request } from './load-plan.ts'
import { moment } from './work.ts'

export interface Sent {
  status: number
  body: () => string
  /** When the status was known (`moment`). */
  at: number
}

/** Posts with the least effort that undici can be asked with, and answers when the last byte is in. */
export function send(client: Dispatcher, { path, headers, body }: Request): Promise<Sent> {
  return new Promise((resolve, reject) => {
    let status = 0
    let at = 0
    const chunks: Buffer[] = []
    client.dispatch(
      { method: 'POST', path, headers, body },
      {
        // undici tells new handlers from old ones by this member.
        onRequestStart() {},
        onResponseStart(_, statusCode) {
          at = moment()
          status = statusCode
        },
        onResponseData(_, chunk) {
          chunks.push(chunk)
        },
        onResponseEnd() {
          resolve({ status, at, body: () => Buffer.concat(chunks).toString() })
        },
        onResponseError(_, error) {
          reject(error)
        },
      },
    )
  })
}
