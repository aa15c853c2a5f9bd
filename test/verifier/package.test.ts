import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ScriptedBroker, startScriptedBroker } from './scripted-broker.ts'

const root = join(import.meta.dirname, '../..')
const source = join(root, 'src/verifier')
const run = promisify(execFile)
const tsc = join(root, 'node_modules/typescript/bin/tsc')

/** The folder of somebody who has installed the packed tarball. */
let consumer: string
let packed: string[]

beforeAll(async () => {
  consumer = mkdtempSync(join(tmpdir(), 'hallpass-test-verifier-'))
  const built = join(consumer, 'built')
  const modules = join(consumer, 'node_modules')
  const unpacked = join(modules, '@hallpass/verifier')
  mkdirSync(unpacked, { recursive: true })
  for (const name of ['jose', 'express', '@types/express', '@types/node'])
    symlink(join(root, 'node_modules', name), join(modules, name))
  // What `prepack` does, in a copy: the working folder stays as it is.
  cpSync(source, built, { recursive: true, filter: path => !path.startsWith(join(source, 'dist')) })
  await run(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: built })
  const { stdout } = await run(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', consumer],
    {
      cwd: built,
    },
  )
  const told = JSON.parse(stdout)
  const [{ filename, files }] = Array.isArray(told) ? told : Object.values(told)
  packed = files.map(({ path }: { path: string }) => path)
  await run('tar', ['-xzf', join(consumer, filename), '--strip-components=1', '-C', unpacked])
  rmSync(built, { recursive: true })
  writeFileSync(join(consumer, 'package.json'), '{ "type": "module" }')
}, 120_000)
afterAll(() => rmSync(consumer, { recursive: true, force: true }))

function symlink(target: string, path: string): void {
  mkdirSync(join(path, '..'), { recursive: true })
  symlinkSync(target, path)
}

test('the tarball has JavaScript, types, a README and the licence, and nothing else', () => {
  const modules = readdirSync(source)
    .filter(name => name.endsWith('.ts'))
    .map(name => name.slice(0, -3))
  expect(packed.sort()).toEqual(
    [
      ...modules.flatMap(name => [`dist/${name}.d.ts`, `dist/${name}.js`]),
      'LICENSE',
      'README.md',
      'package.json',
    ].sort(),
  )
})

// That it uses no global of Node either is found when it is built: without Node's types.
test('it depends on jose alone, and imports nothing of Node', () => {
  const folder = join(consumer, 'node_modules/@hallpass/verifier')
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  expect(Object.keys(dependencies)).toEqual(['jose'])
  expect(peerDependencies).toBeUndefined()
  for (const name of packed.filter(path => path.endsWith('.js'))) {
    const text = readFileSync(join(folder, name), 'utf8')
    const imported = [...text.matchAll(/\bfrom '([^']+)'|\bimport\('([^']+)'\)/g)].map(
      ([, one, two]) => one ?? two,
    )
    for (const from of imported) expect(from).toMatch(/^(jose|\.\/[a-z-]+\.js)$/)
  }
})

test('its licence is that of the project', () => {
  expect(readFileSync(join(source, 'LICENSE'), 'utf8')).toBe(readFileSync(join(root, 'LICENSE'), 'utf8'))
})

const program = `
import express from 'express'
import { authOf, createVerifier, requireTask, VerifierRefusal, withTask } from '@hallpass/verifier'

const [issuer, good, dead, certificate] = process.argv.slice(2)
const verifier = await createVerifier({ issuer, audience: 'https://deploy.example' })
const app = express()
app.post('/deploy', requireTask(verifier, { scope: 'deploy:prod' }), (request, response) => {
  response.json({ task: authOf(request).taskId })
})
const server = app.listen(0, '127.0.0.1')
await new Promise(listening => server.once('listening', listening))
const ask = async token => {
  const response = await fetch(\`http://127.0.0.1:\${server.address().port}/deploy\`, {
    method: 'POST',
    headers: { authorization: \`Bearer \${token}\` },
  })
  return [response.status, response.headers.get('www-authenticate')]
}
const handler = withTask(verifier, { scope: 'deploy:prod' }, (_, auth) => new Response(auth.clientId))
const request = new Request('https://deploy.example', { headers: { authorization: \`Bearer \${good}\` } })
const refused = await verifier.verify(dead).catch(error => error)
console.log(JSON.stringify({
  fresh: verifier.state().fresh,
  good: await ask(good),
  dead: await ask(dead),
  fetch: await (await handler(request)).text(),
  code: refused instanceof VerifierRefusal && refused.code,
  spiffeId: (await verifier.verifyCertificate(Buffer.from(certificate, 'base64'))).spiffeId,
}))
server.close()
verifier.close()
`

let broker: ScriptedBroker | undefined
afterAll(() => broker?.close())

test('it works from the tarball, and lets its process end when it is closed', async () => {
  broker = await startScriptedBroker()
  await broker.withAuthority()
  const task_id = 'a-task-that-is-closed'
  broker.onFeed = connection =>
    connection.write(
      (broker as ScriptedBroker).snapshot({
        tasks: [{ task_id, state: 'closed', ver: 1, until: (broker as ScriptedBroker).until() }],
      }) + (broker as ScriptedBroker).tick(),
    )
  writeFileSync(join(consumer, 'service.js'), program)
  const { stdout } = await run(
    process.execPath,
    [
      'service.js',
      broker.issuer,
      await broker.token(),
      await broker.token({ task_id }),
      broker.certificate().der.toString('base64'),
    ],
    { cwd: consumer, timeout: 60_000 },
  )
  expect(JSON.parse(stdout)).toEqual({
    fresh: true,
    good: [200, null],
    dead: [401, expect.stringContaining('task_closed')],
    fetch: 'github:repo:acme/api',
    code: 'task_closed',
    spiffeId: 'spiffe://hallpass.example/task/x',
  })
}, 90_000)

const typed = `
import {
  type Auth, type AuthBy, type AuthenticatedRequest, authOf, type CertificateAuth, type CertificateUsage, type ClientCertificate,
  createVerifier, type CredentialKind, type ForwardedCertificate, type RefusalCode, refusalCodes, requireTask, type RouteOptions,
  type TaskAuth, type TokenClaims, type Verifier, type VerifierEvent, type VerifierOptions, VerifierRefusal, type VerifierState, withTask,
} from '@hallpass/verifier'

const options: VerifierOptions = { issuer: 'https://hallpass.example', audience: ['a'], onEvent: (event: VerifierEvent) => void event.type }
const verifier: Verifier = await createVerifier(options)
const auth: Auth = await verifier.verify('token', { scope: 'deploy:prod' })
const signal: AbortSignal = auth.signal
const claims: TokenClaims = auth.claims
const state: VerifierState = verifier.state()
const codes: readonly RefusalCode[] = refusalCodes
// @ts-expect-error what is no code is none
const wrong: RefusalCode = 'whatever'
// @ts-expect-error an audience is needed
await createVerifier({ issuer: 'x' })
export const handler: (request: Request) => Promise<Response> = withTask(verifier, {}, (_, auth) => new Response(auth.jti))
const usage: CertificateUsage = 'serverAuth'
const chain: ClientCertificate = [new Uint8Array()]
const server: CertificateAuth = await verifier.verifyCertificate(chain, { usage })
const bound: Auth = await verifier.verify('token', { certificate: async () => 'PEM' })
const common: TaskAuth[] = [server, bound]
// @ts-expect-error a certificate has no claims
void server.claims
const header: ForwardedCertificate = { escapedPem: 'x-ssl-client-cert' }
const route: RouteOptions<CredentialKind> = { credentials: ['token', 'certificate'], forwardedCertificate: header }
export const either = withTask(verifier, route, (_, auth: AuthBy<CredentialKind>) =>
  new Response(auth.credential === 'token' ? auth.clientId : auth.spiffeId),
)
export const certified = withTask(verifier, { credentials: ['certificate'], forwardedCertificate: 'client-cert' }, (_, auth) =>
  new Response(auth.spiffeId),
)
// @ts-expect-error no such header is known
withTask(verifier, { forwardedCertificate: 'x-client-cert' }, () => new Response())
// @ts-expect-error tokens are verified by \`verify\`
requireTask({ verifyCertificate: verifier.verifyCertificate })
requireTask({ verifyCertificate: verifier.verifyCertificate }, { credentials: ['certificate'] })
export { common }
export const inspect = (error: unknown) => (error instanceof VerifierRefusal ? error.challenge : null)
export { signal, claims, state, codes, wrong, requireTask, authOf, type AuthenticatedRequest }
`

const typedExpress = `
import { createServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { createServer as createSecureServer } from 'node:https'
import express from 'express'
import { type AuthenticatedRequest, authOf, createVerifier, requireTask } from '@hallpass/verifier'

const verifier = await createVerifier({ issuer: 'https://hallpass.example', audience: 'a' })
const app = express()
app.post('/deploy', requireTask(verifier, { scope: 'deploy:prod' }), (request, response) => {
  const { taskId } = authOf(request)
  const { signal } = (request as unknown as AuthenticatedRequest).auth
  response.json({ taskId, aborted: signal.aborted })
})
app.use(requireTask(verifier))
app.get('/x', requireTask(verifier, { credentials: ['token', 'certificate'] }), (request, response) => {
  const auth = authOf(request, 'token', 'certificate')
  response.json({ who: auth.credential === 'certificate' ? auth.spiffeId : auth.clientId, aborted: auth.signal.aborted })
})
app.get('/y', requireTask(verifier, { credentials: ['certificate'] }), (request, response) => {
  // @ts-expect-error a certificate has no claims
  void authOf(request, 'certificate').claims
  response.json(authOf(request, 'certificate').audience)
})
const middleware = requireTask(verifier)
createServer((request, response) => middleware(request, response, () => response.end()))
createSecureServer({ requestCert: true }, (request, response) => middleware(request, response, () => response.end()))
createHttp2Server((request, response) => middleware(request, response, () => response.end()))
`

test.each([
  ['in any fetch runtime', typed, { lib: ['es2022', 'dom'], types: [] }],
  ['with express and Node', typedExpress, { lib: ['es2022'], types: ['node'] }],
])(
  'its types serve a strict program %s',
  async (_, text, options) => {
    const folder = mkdtempSync(join(consumer, 'types-'))
    writeFileSync(join(folder, 'program.ts'), text)
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          exactOptionalPropertyTypes: true,
          target: 'es2022',
          module: 'nodenext',
          noEmit: true,
          typeRoots: [join(root, 'node_modules/@types')],
          ...options,
        },
        files: ['program.ts'],
      }),
    )
    await run(process.execPath, [tsc, '-p', folder]).catch(error => expect.fail(error.stdout))
  },
  90_000,
)
