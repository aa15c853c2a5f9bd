import type { TokenResponse } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from '../support/broker.ts'
import type { Reply } from '../support/client.ts'
import { deploy, fields, jwtType, type OAuthError, tokenExchange } from './world.ts'

/** What is asked at a door; the REST door takes `task_id` from it for its path. */
export type Asked = Record<string, string | string[] | undefined>

/** One way to a credential (contract §4): the same story behind each. */
export interface Door {
  name: string
  /** How the attestation comes in, which says how its faults are told. */
  role: 'subject' | 'assertion' | 'client' | 'rest'
  /** Whether it takes JWT-SVIDs alone. */
  svidOnly: boolean
  ask(broker: TestBroker, attestation: string, asked: Asked): Promise<Reply<TokenResponse & OAuthError>>
}

const assertionType = (name: string) => `urn:ietf:params:oauth:client-assertion-type:${name}`

const oauth = (
  name: string,
  role: Door['role'],
  form: (attestation: string) => Record<string, string>,
  svidOnly = false,
): Door => ({
  name,
  role,
  svidOnly,
  ask: (broker, attestation, asked) =>
    broker.client.request('POST', '/oauth2/token', {
      form: fields({ scope: 'deploy:prod', audience: deploy, ...form(attestation), ...asked }),
    }),
})

export const oauthDoors: Door[] = [
  oauth('token exchange', 'subject', token => ({
    grant_type: tokenExchange,
    subject_token: token,
    subject_token_type: jwtType,
  })),
  oauth('token exchange of an id_token', 'subject', token => ({
    grant_type: tokenExchange,
    subject_token: token,
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    requested_token_type: jwtType,
  })),
  oauth('jwt-bearer', 'assertion', token => ({
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion: token,
  })),
  oauth('client_credentials', 'client', token => ({
    grant_type: 'client_credentials',
    client_assertion: token,
    client_assertion_type: assertionType('jwt-bearer'),
  })),
  oauth(
    'client_credentials, jwt-spiffe',
    'client',
    token => ({
      grant_type: 'client_credentials',
      client_assertion: token,
      client_assertion_type: assertionType('jwt-spiffe'),
    }),
    true,
  ),
]

export const rest: Door = {
  name: 'REST',
  role: 'rest',
  svidOnly: false,
  ask(broker, token, { task_id, ttl, task_ver, ...asked }) {
    const numbers = Object.entries({ ttl, task_ver }).flatMap(([name, text]) =>
      text === undefined ? [] : [[name, Number(text)]],
    )
    const json = {
      type: 'jwt',
      scope: 'deploy:prod',
      audience: deploy,
      ...asked,
      ...Object.fromEntries(numbers),
    }
    return broker.client.request('POST', `/v1/tasks/${task_id}/credentials`, { token, json })
  },
}

export const doors: Door[] = [...oauthDoors, rest]
