import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { startEmbeddedPostgres } from '../../src/store/embedded/embedded-postgres.ts'
import { startIssuer, type TestIssuer } from '../../test/support/issuer.ts'
import { createTrustDomain, type TestTrustDomain } from '../../test/support/spiffe.ts'
import { cpuOfServer, postmasterOf } from './cpu.ts'
import { type BenchDatabase, createDatabase } from './database.ts'
import {
  type LoadGenerator,
  type Server,
  type Stops,
  startLoadGenerator,
  startServer,
  startWorker,
  type Worker,
} from './processes.ts'
import type { Tasks } from './work.ts'

/** What every part of the bench works with. All of it goes when it is closed. */
export interface World {
  /** Signs as GitHub does: RS256. */
  ci: TestIssuer
  /** Signs as SPIRE does: ES256. */
  agents: TestTrustDomain
  load: LoadGenerator
  /** Smaller and shorter, to see that everything works: the figures say little. */
  quick: boolean
  folder: string
  createDatabase(): Promise<BenchDatabase>
  startBroker(database: BenchDatabase, flags?: string[]): Promise<Server>
  startPeer(env: Record<string, string>): Promise<Server>
  /** CPU seconds of PostgreSQL, all its processes together; NaN where it is not on this machine. */
  databaseCpu(): number
  /** Starts a process of the bench's own. It ends with the part that started it. */
  startWorker<T extends Tasks>(script: URL): Worker<T>
  /** Ends what a part has started and left, so that the next one has the machine to itself. */
  clear(): Promise<void>
  /** Ends whatever was started. May be called twice, and while something is under way. */
  close(): Promise<void>
  isClosed(): boolean
}

/** `iss` of the broker, and the `aud` of all attestations. */
export const brokerIssuer = 'https://hallpass.bench'

export async function openWorld({ quick }: { quick: boolean }): Promise<World> {
  const stops: Stops = []
  let closed: Promise<void> | undefined
  const stopFrom = async (first: number) => {
    for (const stop of stops.splice(first).reverse()) await stop()
  }
  const close = () => {
    closed ??= stopFrom(0)
    return closed
  }
  try {
    const opened = await open(stops)
    const own = stops.length
    return { ...opened, quick, clear: () => stopFrom(own), close, isClosed: () => closed !== undefined }
  } catch (error) {
    await close()
    throw error
  }
}

async function open(stops: Stops): Promise<Omit<World, 'clear' | 'close' | 'isClosed' | 'quick'>> {
  const folder = await mkdtemp(join(tmpdir(), 'hallpass-bench-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))
  const server = process.env.DATABASE_URL ?? (await embedded(folder, stops))

  const ci = await startIssuer({ alg: 'RS256' })
  stops.push(() => ci.close())
  const agents = createTrustDomain('prod.example')
  await agents.writeBundle(join(folder, 'bundle.json'))
  const config = join(folder, 'hallpass.yaml')
  await writeFile(config, JSON.stringify(configuration(ci.issuer)))

  const load = startLoadGenerator(stops)
  const masterKey = randomBytes(32).toString('base64')
  const started = async (starting: Promise<Server>, ready: string): Promise<Server> => {
    const running = await starting
    const { status } = await fetch(running.url + ready)
    if (status !== 200) throw new Error(`a server that has started answers ${status}`)
    return running
  }
  let postmaster: number | null = null
  return {
    ci,
    agents,
    load,
    folder,
    async createDatabase() {
      const database = await createDatabase(server)
      stops.push(() => database.drop())
      const [backend] = await database.sql<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      postmaster ??= postmasterOf(backend?.pid ?? 0)
      return database
    },
    startBroker: ({ url }, flags = []) =>
      started(
        startServer(new URL('../../src/main.ts', import.meta.url), stops, {
          flags,
          env: {
            HALLPASS_CONFIG: config,
            HALLPASS_PORT: '0',
            HALLPASS_MASTER_KEY: masterKey,
            DATABASE_URL: url,
          },
        }),
        '/readyz',
      ),
    startPeer: env =>
      started(
        startServer(new URL('peer-server.ts', import.meta.url), stops, { env }),
        '/.well-known/openid-configuration',
      ),
    startWorker: script => startWorker(script, stops),
    databaseCpu: () => (postmaster === null ? Number.NaN : cpuOfServer(postmaster)),
  }
}

async function embedded(folder: string, stops: Stops): Promise<string> {
  const dataDir = join(folder, 'data')
  await mkdir(dataDir, { mode: 0o700 })
  const postgres = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) })
  stops.push(() => postgres.stop())
  return postgres.url
}

const configuration = (ciIssuer: string) => ({
  issuer: brokerIssuer,
  trust: [
    {
      name: 'github',
      kind: 'oidc',
      issuer: ciIssuer,
      require: { repository_owner_id: '4711' },
      task: {
        kind: 'ci-job',
        ref: '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}',
        bind: ['repository', 'sha', 'workflow_ref', 'environment'],
      },
    },
    { name: 'prod', kind: 'spiffe', trust_domain: 'prod.example', bundle: { file: './bundle.json' } },
  ],
  policy: { dir: fileURLToPath(new URL('policies/', import.meta.url)) },
})
