import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isThere } from '../support/judges.ts'
import { type Certified, type Court, openCourt, type Presented } from './court.ts'
import { acted } from './ends.ts'
import { judgeCertificates, type Verdict } from './judge.ts'
import { type Nginx, settled, startNginx } from './nginx.ts'
import { nodeClient } from './node-server.ts'
import { run } from './run.ts'
import { host, serving } from './service.ts'

const says = {
  ended: /^403 FAILED:certificate revoked$/,
  // OpenSSL goes on after a fault, and keeps the last: nobody has a CRL of that authority.
  forged:
    /^403 FAILED:(unable to get (local )?issuer certificate|unable to verify the first certificate|certificate signature failure|unable to get certificate CRL)$/,
  expired: /^403 FAILED:certificate has expired$/,
  withdrawn: /^403 FAILED:certificate revoked$/,
}
const isHere = isThere('nginx', '-v') && isThere('curl')

describe.skipIf(!isHere)('nginx, by curl and by Node (skipped where there is no nginx or no curl)', () => {
  let court: Court
  let own: Certified
  let nginx: Nginx
  beforeAll(async () => {
    court = await openCourt()
    own = await court.certified('/agent/judged', {}, serving)
    nginx = await startNginx(own)
  })
  afterAll(async () => {
    await nginx?.close()
    await court?.close()
  })

  const trust = async () =>
    nginx.trust({ ca: await court.ca(), roots: await court.roots(), crls: await court.crls() })

  async function curl(
    socket: string,
    presented: Presented | null,
    { name = host, crls = [] }: { name?: string; crls?: string[] } = {},
  ) {
    const mine = presented && [
      '--cert',
      court.file('chain.pem', presented.certificate, presented.chain),
      '--key',
      court.file('key.pem', presented.key),
    ]
    const { text } = await run(
      'curl',
      '--silent',
      '--show-error',
      '--write-out',
      '\n%{http_code} ',
      '--unix-socket',
      socket,
      '--cacert',
      court.file('roots.pem', await court.roots()),
      ...(crls.length > 0 ? ['--crlfile', court.file('crls.pem', ...crls)] : []),
      ...(mine ?? []),
      `https://${name}/`,
    )
    // Then what curl says itself.
    const [, body = '', status = '', error = ''] = /^(.*)\n(\d{3}) (.*)$/s.exec(text) ?? []
    return { status: Number(status), text: body + error }
  }
  async function node(socketPath: string, { key, certificate, chain }: Presented) {
    const got = await nodeClient({ socketPath }, { ca: await court.roots(), key, cert: certificate + chain })
    return 'error' in got ? { status: 0, text: got.error } : got
  }

  /** What both of them get, which must be the same. */
  async function verdict(socket: string, begins: string, presented: Presented): Promise<Verdict> {
    const answers = [
      await settled(begins, () => curl(socket, presented)),
      await settled(begins, () => node(socket, presented)),
    ].map(({ status, text }) => `${status} ${text.replace(/^generation \d+: /, '')}`)
    const [answer = '', other] = answers
    if (answer !== other) return `they differ: ${answers.join(' and ')}`
    return /^200 SUCCESS [0-9A-F]{32}$/.test(answer) ? null : answer
  }

  test('tells who came by the serial number of the certificate, and lets nobody in without one', async () => {
    const begins = await trust()
    const certified = await court.certified('/agent/a')
    for (const socket of Object.values(nginx.sockets)) {
      const { status, text } = await settled(begins, () => curl(socket, certified))
      expect([status, text]).toEqual([200, `${begins} SUCCESS ${certified.serial.toUpperCase()}`])
      expect(await curl(socket, null)).toEqual({ status: 403, text: `${begins} NONE` })
    }
  })

  test('is itself refused by curl when the task of its certificate has ended, or under another name', async () => {
    const begins = await trust()
    const me = await court.certified('/agent/a')
    const visit = async () => curl(nginx.sockets.ocsp, me, { crls: await court.crls() })
    expect((await settled(begins, visit)).status).toBe(200)
    const elsewhere = await curl(nginx.sockets.ocsp, me, { name: 'another.hallpass.test' })
    expect(elsewhere.text).toMatch(/no alternative certificate subject name matches/)
    await acted(court, own.task, 'suspend')
    expect((await visit()).text).toMatch(/certificate revoked/)
    await acted(court, own.task, 'resume')
    expect((await visit()).status).toBe(200)
  })

  judgeCertificates(() => court, {
    'ssl_crl, reloaded': {
      verdict: async presented => verdict(nginx.sockets.crl, await trust(), presented),
      // ca.pem has the authorities.
      says: { ...says, withoutChain: null },
    },
    'ssl_ocsp, at once': {
      verdict: async presented => verdict(nginx.sockets.ocsp, 'generation ', presented),
      says: {
        ...says,
        withoutChain: /^403 FAILED:unable to (get local issuer certificate|verify the first certificate)$/,
      },
    },
  })
})
