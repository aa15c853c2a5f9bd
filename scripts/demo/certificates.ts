import { csrOf, newKeyPair } from '../../test/support/csr.ts'
import type { Answer } from './calls.ts'
import { closeTask } from './calls.ts'
import { callOverMutualTls, type Identity } from './mutual-tls.ts'
import { names } from './settings.ts'
import { step } from './step.ts'
import { chapter } from './tell.ts'
import type { World } from './world.ts'

/** A certificate in, a certificate out, and its end. */
export async function certificatesDieToo(world: World, operator: string): Promise<void> {
  const { broker, signal } = world
  chapter('6  The same with certificates: an X.509-SVID in, a certificate out')
  const ca = await (await fetch(`${broker.url}/pki/ca.pem`, { signal })).text()
  const svid: Identity = { ...world.prod.x509.svid(names.agentPath).pem, ca }
  const toBroker = (path: string, json: object): Promise<Answer> =>
    callOverMutualTls(broker.mtlsUrl + path, svid, { signal, json })

  const task = await step(
    'an agent shows its X.509-SVID over mutual TLS, and opens a task',
    { status: 201, body: { principal: `spiffe://${names.trustDomain}${names.agentPath}` } },
    () => toBroker('/v1/tasks', { kind: 'agent-run', ref: 'rollout-7' }),
  )
  const key = newKeyPair()
  const minted = await step(
    'it sends a CSR, and gets a certificate for the task',
    { status: 201, body: { task_id: task.id } },
    () =>
      toBroker(`/v1/tasks/${task.id}/credentials`, {
        type: 'x509',
        csr: csrOf(key),
        scope: 'deploy:staging',
        audience: names.serviceAudience,
      }),
  )
  const { certificate, chain } = minted as { certificate: string; chain: string[] }
  const identity: Identity = {
    cert: [certificate, ...chain].join(''),
    key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ca: world.serviceCertificate,
  }
  const deploy = (): Promise<Answer> =>
    callOverMutualTls(`${world.mtlsService}/staging`, identity, { signal })
  await step(
    'a service behind mutual TLS accepts it, without asking anybody',
    { status: 200, body: { deployed: 'staging' } },
    deploy,
  )
  await step(
    'an operator closes the task',
    { status: 200, body: { state: 'closed', close_reason: 'revoked' } },
    () => closeTask(world, operator, String(task.id)),
  )
  await step(
    'this long after the answer, a new handshake included, the service refuses the certificate',
    { status: 401, body: { error: 'invalid_token', reason: 'task_closed' } },
    () => untilRefused(deploy),
  )
  await step(
    'and so says the CRL of the authority, for all who read only that',
    { status: 200, body: { onCrl: true } },
    () => crlHas(world, String(minted.serial)),
  )
}

/** The answer of the service once it has changed its mind. Gives up after two seconds. */
async function untilRefused(deploy: () => Promise<Answer>): Promise<Answer> {
  const since = performance.now()
  for (;;) {
    const answer = await deploy()
    if (answer.status !== 200 || performance.now() - since > 2_000) return answer
  }
}

/** Serial numbers of 16 bytes stand in it as they are. */
async function crlHas({ broker, signal }: World, serial: string): Promise<Answer> {
  const response = await fetch(`${broker.url}/pki/crl`, { signal })
  const der = Buffer.from(await response.arrayBuffer())
  return { status: response.status, body: { onCrl: der.includes(Buffer.from(serial, 'hex')) } }
}
