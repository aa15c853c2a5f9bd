import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defaultIssuer } from '../../src/config/url.ts'
import { writePem } from '../../src/der/pem.ts'
import type { CertificateAuthority, CertificateResponse, Task } from '../../src/http/openapi.generated.d.ts'
import { startWorld, type World } from '../features/world.ts'
import { csrOf, newKeyPair } from '../support/csr.ts'

/** A certificate with its key, and what is presented with it: PEM, all of them. */
export interface Presented {
  key: string
  certificate: string
  /** The authorities above it, without the root. */
  chain: string
}

/** A certificate of a task of this court. */
export interface Certified extends Presented {
  jti: string
  serial: string
  task: Task
}

/** A broker that certificates lead to, wherever it listens, and files for programs that read nothing else. */
export interface Court extends World {
  /** Opens a task for this agent, and a certificate of it. */
  certified(path: string, body?: Record<string, unknown>, more?: Record<string, unknown>): Promise<Certified>
  /** Another certificate of a task that is open. */
  certifiedAgain(path: string, task: Task, more?: Record<string, unknown>): Promise<Certified>
  /** A certificate of a task that is open, with a key that the broker made: a PKCS #12 file. */
  pkcs12(path: string, task: Task, password: string): Promise<Buffer>
  authority(): Promise<CertificateAuthority>
  /** `/pki/ca.pem` as it is now. */
  ca(): Promise<string>
  /** The roots of `/spiffe/bundle`: PEM. */
  roots(): Promise<string>
  /** The complete CRL of an authority or a root, as it is now: PEM. */
  crl(kid: string): Promise<string>
  /** Complete CRLs of every authority and every root, as they are now: PEM, one in each. */
  crls(): Promise<string[]>
  /** Deltas of every authority: PEM, one in each. */
  deltas(): Promise<string[]>
  folder: string
  /** Writes a file of its own, and says where it is. */
  file(name: string, ...content: (string | Uint8Array)[]): string
}

export async function openCourt(): Promise<Court> {
  const folder = mkdtempSync(join(tmpdir(), 'hallpass-court-'))
  const world = await startWorld({
    config: {
      // Where it listens is not known yet.
      issuer: defaultIssuer(0),
      pki: { trustDomain: 'hallpass.test', path: '/task/{task_id}' },
    },
  }).catch(error => {
    rmSync(folder, { recursive: true })
    throw error
  })
  const { broker } = world
  let files = 0

  async function crlOf(path: string): Promise<string> {
    const response = await fetch(`${broker.url}${path}`)
    if (response.status !== 200) throw new Error(`no CRL: ${await response.text()}`)
    return writePem('X509 CRL', Buffer.from(await response.arrayBuffer()))
  }

  async function minted(path: string, { id }: Task, more: object): Promise<CertificateResponse> {
    const json = { type: 'x509', scope: 'deploy:prod', audience: 'https://deploy.example', ...more }
    const { status, body, text } = await world.act<CertificateResponse>(
      world.as(path),
      'POST',
      `/v1/tasks/${id}/credentials`,
      json,
    )
    if (status !== 201) throw new Error(`not minted: ${text}`)
    return body
  }

  const court: Court = {
    ...world,
    folder,
    async certified(path, body, more) {
      return court.certifiedAgain(path, await world.open(path, { ref: crypto.randomUUID(), ...body }), more)
    },
    async certifiedAgain(path, task, more) {
      const key = newKeyPair()
      const body = await minted(path, task, { csr: csrOf(key), ...more })
      return {
        task,
        jti: body.jti,
        serial: body.serial,
        key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
        certificate: body.certificate ?? '',
        chain: body.chain.join(''),
      }
    },
    async pkcs12(path, task, password) {
      const { pkcs12 = '' } = await minted(path, task, { format: 'pkcs12', password })
      return Buffer.from(pkcs12, 'base64')
    },
    async authority() {
      const token = await broker.operatorToken()
      return (await world.act<CertificateAuthority>(token, 'GET', '/v1/ca')).body
    },
    ca: async () => (await broker.client.request('GET', '/pki/ca.pem')).text,
    async roots() {
      const { body } = await broker.client.request<{ keys: { x5c: string[] }[] }>('GET', '/spiffe/bundle')
      return body.keys
        .flatMap(({ x5c }) => x5c)
        .map(base64 => writePem('CERTIFICATE', Buffer.from(base64, 'base64')))
        .join('')
    },
    crl: kid => crlOf(`/pki/crl/${kid}`),
    async crls() {
      const { roots, authorities } = await court.authority()
      return Promise.all([...authorities, ...roots].map(({ kid }) => court.crl(kid)))
    },
    async deltas() {
      const { authorities } = await court.authority()
      return Promise.all(authorities.map(({ kid }) => crlOf(`/pki/crl/${kid}/delta`)))
    },
    file(name, ...content) {
      const path = join(folder, `${++files}-${name}`)
      writeFileSync(path, Buffer.concat(content.map(part => Buffer.from(part))), { mode: 0o600 })
      return path
    },
    async close() {
      await world.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return court
}
