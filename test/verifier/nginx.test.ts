import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import express from 'express'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { authOf, requireTask } from '../../src/verifier/express.ts'
import { dns, type Leaf, newLeaf, uri } from './certificate-maker.ts'
import { type Followed, startFollowed } from './verifiers.ts'

const hasNginx = spawnSync('nginx', ['-v']).error === undefined

describe.skipIf(!hasNginx)('behind a real nginx (skipped where there is none)', () => {
  let followed: Followed
  let service: Server
  let folder: string
  let port: number
  let nginx: ReturnType<typeof spawn>

  beforeAll(async () => {
    followed = await startFollowed()
    const authority = await followed.broker.withAuthority()
    const app = express()
    const route = requireTask(followed.verifier, {
      credentials: ['token', 'certificate'],
      forwardedCertificate: { escapedPem: 'x-ssl-client-cert' },
    })
    app.get(
      '/',
      route,
      (request, response) => void response.json(authOf(request, 'token', 'certificate').jti),
    )
    service = createServer(app)
    await new Promise<void>(listening => service.listen(0, '127.0.0.1', listening))

    folder = mkdtempSync(join(tmpdir(), 'hallpass-test-nginx-'))
    chmodSync(folder, 0o755)
    const own = newLeaf({
      now: Date.now(),
      by: authority,
      purposes: [oids.serverAuth],
      names: [uri('spiffe://hallpass.example/proxy'), dns('localhost')],
    })
    port = await freePort()
    const file = (name: string, text: string) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const certificate = file('cert.pem', own.pem + writePem('CERTIFICATE', authority.certificate))
    const key = file('key.pem', own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map(name => `${name}_temp_path ${join(folder, name)};`)
      .join('\n')
    const configuration = file(
      'nginx.conf',
      `daemon off; master_process off; pid ${join(folder, 'pid')}; error_log ${join(folder, 'error.log')};
events {}
http {
  access_log off;
  ${temporary}
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${certificate};
    ssl_certificate_key ${key};
    ssl_verify_client optional_no_ca;
    location / {
      proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
      proxy_pass http://127.0.0.1:${(service.address() as AddressInfo).port};
    }
  }
}
`,
    )
    execFileSync('nginx', ['-t', '-c', configuration, '-e', join(folder, 'error.log')], { stdio: 'pipe' })
    nginx = spawn('nginx', ['-c', configuration, '-e', join(folder, 'error.log')], { stdio: 'ignore' })
    while (!(await isListening())) await new Promise(resolve => setTimeout(resolve, 20))
  })
  afterAll(async () => {
    nginx?.kill()
    service?.closeAllConnections()
    await new Promise(closed => service.close(closed))
    rmSync(folder, { recursive: true, force: true })
    await followed.close()
  })

  const isListening = (): Promise<boolean> =>
    ask(null).then(
      () => true,
      () => false,
    )

  function ask(leaf: Leaf | null, headers: Record<string, string> = {}): Promise<[number, unknown]> {
    return new Promise((resolve, reject) => {
      const asked = httpsRequest(
        {
          host: '127.0.0.1',
          port,
          servername: 'localhost',
          agent: false,
          headers,
          ca: writePem('CERTIFICATE', followed.broker.published[0]?.certificate as Buffer),
          ...(leaf && { cert: leaf.pem, key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }) }),
        },
        response => {
          let text = ''
          response.on('data', chunk => {
            text += chunk
          })
          response.on('end', () => {
            const body = JSON.parse(text)
            resolve([response.statusCode as number, body.reason ?? body])
          })
        },
      )
      asked.on('error', reject)
      asked.end()
    })
  }

  test('a certificate is told, and judged here', async () => {
    const leaf = followed.broker.certificate()
    expect(await ask(leaf)).toEqual([200, leaf.jti])
    const stranger = followed.broker.certificate({ task: { audience: ['https://other.example'] } })
    expect(await ask(stranger)).toEqual([401, 'audience_wrong'])
    expect(await ask(null)).toEqual([401, 'token_missing'])
  })

  test('and the one that a token is bound to', async () => {
    const leaf = followed.broker.certificate()
    const x5t = createHash('sha256').update(leaf.der).digest('base64url')
    const token = await followed.broker.token({ jti: 'bound', cnf: { 'x5t#S256': x5t } })
    const headers = { authorization: `Bearer ${token}` }
    expect(await ask(leaf, headers)).toEqual([200, 'bound'])
    expect(await ask(followed.broker.certificate(), headers)).toEqual([401, 'binding_wrong'])
    expect(await ask(null, headers)).toEqual([401, 'binding_missing'])
  })

  test('what a client sends in its place does not come through', async () => {
    const [leaf, own] = [followed.broker.certificate(), followed.broker.certificate()]
    const headers = { 'x-ssl-client-cert': encodeURIComponent(leaf.pem) }
    expect(await ask(null, headers)).toEqual([401, 'token_missing'])
    expect(await ask(own, headers)).toEqual([200, own.jti])
  })
})

async function freePort(): Promise<number> {
  const server = createTcpServer()
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  await new Promise(closed => server.close(closed))
  return port
}
