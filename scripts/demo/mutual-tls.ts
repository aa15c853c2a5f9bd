import { request } from 'node:https'
import type { Answer } from './calls.ts'

/** What a client shows, and by what it knows the server: PEM. */
export interface Identity {
  cert: string
  key: string
  ca: string
}

/** One request over mutual TLS, on a connection of its own. JSON in, if there is any, and JSON out. */
export function callOverMutualTls(
  url: string,
  identity: Identity,
  { signal, json }: { signal: AbortSignal; json?: object },
): Promise<Answer> {
  const body = json === undefined ? undefined : JSON.stringify(json)
  const headers = body === undefined ? {} : { 'Content-Type': 'application/json' }
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { ...identity, method: 'POST', headers, agent: false, signal },
      async response => {
        try {
          const chunks: Buffer[] = []
          for await (const chunk of response) chunks.push(chunk as Buffer)
          const answer = JSON.parse(Buffer.concat(chunks).toString()) as Answer['body']
          resolve({ status: response.statusCode ?? 0, body: answer })
        } catch (error) {
          reject(error)
        }
      },
    )
    sent.once('error', reject)
    sent.end(body)
  })
}
