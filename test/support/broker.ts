import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import pino from 'pino'
import { startBroker } from '../../src/app.ts'
import { mintOperatorToken } from '../../src/attest/operator-token.ts'
import type { Config, OidcSource, SpiffeSource, TrustSource } from '../../src/config.ts'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'
import { createClient } from './client.ts'
import { createTestDatabase } from './database.ts'

/** A broker under test: real HTTP, a real PostgreSQL, real keys, and a clock that the test moves. */
export interface TestBroker {
  url: string
  issuer: string
  config: Config
  /** Where `listen.metricsPort` is given. */
  metricsUrl: string | null
  /** Where `listen.mtls` is given. */
  mtlsUrl: string | null
  client: ReturnType<typeof createClient>
  /** Everything that was logged, a line each. */
  logged: string[]
  clock: { now(): number; advance(ms: number): void }
  operatorToken(): Promise<string>
  sweep(): Promise<void>
  sql<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  databaseUrl: string
  policyDir: string
  /** Another replica over the same database, with the same keys and policies. */
  replica(): Promise<TestBroker>
  close(): Promise<void>
}

export const testIssuer = 'https://hallpass.test'

export interface TestBrokerOptions {
  trust?: TrustSource[]
  /** Text of the one policy file. */
  policies?: string
  config?: Partial<Config>
  sweeps?: boolean
  /** By which way the broker reaches its database, such as a link that the test cuts: URL in, URL out. */
  through?: (url: string) => Promise<string>
}

const workloads = [
  'open',
  'open_child',
  'mint',
  'introspect',
  'read',
  'close',
  'suspend',
  'resume',
  'extend',
  'revoke',
  'change_context',
  'heartbeat',
]

/** Policies under which every workload may do everything to tasks, for tests that are about something else. */
export const allowAll = workloads
  .map(
    action =>
      `@id("allow-${action}") permit (principal is Workload, action == Action::"${action}", resource);`,
  )
  .join('\n')

export async function startTestBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const database = await createTestDatabase()
  const secret = randomBytes(32)
  const folder = mkdtempSync(join(tmpdir(), 'hallpass-test-'))
  writeFileSync(join(folder, 'test.cedar'), options.policies ?? allowAll)
  const config: Config = {
    issuer: testIssuer,
    listen: { host: '127.0.0.1', port: 0, metricsPort: null, mtls: null, trustedProxies: [] },
    dataDir: folder,
    database: { url: (await options.through?.(database.url)) ?? database.url },
    masterKey: secret,
    clockSkew: 30_000,
    trust: options.trust ?? [],
    policy: { dir: folder },
    credentials: { ttlDefault: 300_000, ttlMax: 900_000, signingAlg: 'ES256', signingAlgFor: {} },
    tasks: { deadlineDefault: 3_600_000, deadlineMax: 86_400_000, depthMax: 3, retention: 90 * 86_400_000 },
    limits: { principal: null, address: null },
    feed: { readers: 5_000, anonymous: 3_000, perAddress: 2_000, perPrincipal: 500 },
    pki: null,
    hooks: [],
    ...options.config,
  }
  let offset = 0
  const clock = () => Date.now() + offset
  const pool = new pg.Pool({ connectionString: database.url, max: 2 })
  // Dropping the database ends what is still open.
  pool.on('error', () => {})

  async function start(last: boolean): Promise<TestBroker> {
    const logged: string[] = []
    const log = pino({ level: 'debug' }, { write: line => void logged.push(line) })
    const broker = await startBroker(config, { log, clock, sweeps: options.sweeps ?? false })
    return {
      url: broker.url,
      issuer: broker.config.issuer,
      config: broker.config,
      metricsUrl: broker.metricsUrl,
      mtlsUrl: broker.mtlsUrl,
      client: createClient({ baseUrl: broker.url }),
      logged,
      clock: {
        now: clock,
        advance: ms => {
          offset += ms
        },
      },
      operatorToken: () =>
        mintOperatorToken({ masterKey: masterKeyFrom(secret), issuer: broker.config.issuer, clock }),
      sweep: broker.sweep,
      sql: async (text, values) => (await pool.query(text, values)).rows,
      databaseUrl: database.url,
      policyDir: folder,
      replica: () => start(false),
      async close() {
        await broker.close()
        if (!last) return
        await pool.end()
        await database.drop()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  }
  try {
    return await start(true)
  } catch (error) {
    await pool.end()
    await database.drop()
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
}

/** A trust source like a CI's: an attestation stands for one job. */
export const ciSource = (issuer: string, more: Partial<OidcSource> = {}): OidcSource => ({
  kind: 'oidc',
  name: 'ci',
  issuer,
  audience: testIssuer,
  jwksUri: null,
  require: {},
  task: {
    kind: 'ci-job',
    ref: '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}',
    bind: ['repository', 'sha', 'workflow_ref', 'environment'],
  },
  reuse: 'any',
  operators: null,
  ...more,
})

export const spiffeSource = (
  trustDomain: string,
  bundle: SpiffeSource['bundle'],
  more: Partial<SpiffeSource> = {},
): SpiffeSource => ({
  kind: 'spiffe',
  name: trustDomain.replace(/[^a-z0-9]/g, '-'),
  trustDomain,
  audience: testIssuer,
  bundle,
  reuse: 'any',
  ...more,
})
