import { readCertificate } from '../../src/attest/x509/certificate.ts'
import { findPath } from '../../src/attest/x509/find-path.ts'
import { readPem } from '../../src/der/pem.ts'
import type { CertificateResponse } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from './broker.ts'
import type { Reply } from './client.ts'
import { csrOf, newKeyPair } from './csr.ts'
import { opened, type Scene, type TaskBody } from './scene.ts'

export const pki = { trustDomain: 'hallpass.test', path: '/task/{task_id}' }

type Answer = Reply<CertificateResponse & { code: string; detail: string; decision_id: string }>

const keys = newKeyPair()
/** Of one key, which makes tests no weaker: what is certified is the task. */
export const someCsr = csrOf(keys)

export const mintCertificate = (
  broker: TestBroker,
  attestation: string,
  { id }: Pick<TaskBody, 'id'>,
  more: object = {},
): Promise<Answer> =>
  broker.client.request('POST', `/v1/tasks/${id}/credentials`, {
    token: attestation,
    json: { type: 'x509', scope: 'deploy:prod', audience: 'https://deploy.example', csr: someCsr, ...more },
  })

/** A certificate of a new task. */
export async function certificateOn(scene: Scene, broker: TestBroker, more: object = {}): Promise<Answer> {
  const attestation = scene.agent('runner')
  return mintCertificate(broker, attestation, await opened(broker, attestation), more)
}

/** What a service holds to check certificates with, and until when it may go by that. */
export interface Trust {
  /** Of the bundle, DER. */
  roots: Buffer[]
  /** Of ca.pem, DER. */
  authorities: Buffer[]
  sequence: number
  until: number
}

export async function fetchTrust({ client, clock }: TestBroker): Promise<Trust> {
  const bundle = await client.request<{ keys: { x5c: string[] }[]; spiffe_sequence: number }>(
    'GET',
    '/spiffe/bundle',
  )
  const pem = await client.request('GET', '/pki/ca.pem')
  const maxAge = Number(/max-age=(\d+)/.exec(pem.headers.get('Cache-Control') ?? '')?.[1])
  return {
    roots: bundle.body.keys.flatMap(({ x5c }) => x5c.map(text => Buffer.from(text, 'base64'))),
    authorities: readPem(pem.text, 50).map(({ der }) => der),
    sequence: bundle.body.spiffe_sequence,
    until: clock.now() + maxAge * 1000,
  }
}

export const derOf = (pem = ''): Buffer => readPem(pem, 1)[0]?.der as Buffer

/** Why the certificate is not valid then, for who trusts these roots and knows these authorities; null where it is. */
export function faultOf(
  certificate: Buffer,
  { roots, authorities }: Pick<Trust, 'roots' | 'authorities'>,
  now: number,
): string | null {
  const path = findPath({
    certificate: readCertificate(certificate),
    intermediates: authorities.map(readCertificate),
    anchors: roots.map(readCertificate),
    now,
  })
  return 'fault' in path ? path.fault : null
}
