import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { TestProject } from 'vitest/node'
import { startEmbeddedPostgres } from '../../src/store/embedded/embedded-postgres.ts'
import { migrate } from '../../src/store/migrate.ts'
import { asAdmin, onDatabase } from './database.ts'

interface Server {
  url: string
  stop(): Promise<void>
}

/** One PostgreSQL and one template database for the run; `createTestDatabase` copies it for each test file. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await chooseServer()
  const template = `hallpass_test_${randomBytes(4).toString('hex')}`
  const teardown = async () => {
    await asAdmin(server.url, async client => {
      const { rows } = await client.query<{ datname: string }>(
        'SELECT datname FROM pg_database WHERE starts_with(datname, $1)',
        [template],
      )
      for (const { datname } of rows) await client.query(`DROP DATABASE IF EXISTS ${datname} WITH (FORCE)`)
    }).finally(server.stop)
  }
  try {
    await asAdmin(server.url, client => client.query(`CREATE DATABASE ${template}`))
    await migrate(onDatabase(server.url, template))
  } catch (error) {
    await teardown()
    throw error
  }
  project.provide('testServer', { url: server.url, template })
  return teardown
}

/** `DATABASE_URL`, else a container where an engine answers, else the embedded one. */
async function chooseServer(): Promise<Server> {
  const url = process.env.DATABASE_URL
  if (url) return { url, stop: async () => {} }
  if (await engineAnswers()) {
    try {
      return await startContainer()
    } catch (error) {
      console.warn('No PostgreSQL container could be started; the embedded one serves instead.', error)
    }
  }
  return startEmbedded()
}

async function startContainer(): Promise<Server> {
  const { GenericContainer, Wait } = await import('testcontainers')
  const password = randomBytes(16).toString('hex')
  const container = await new GenericContainer('postgres:18')
    .withEnvironment({ POSTGRES_PASSWORD: password })
    .withExposedPorts(5432)
    .withCommand(['postgres', '-c', 'max_connections=200'])
    // The second time: the image starts the server once to set it up.
    .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/, 2))
    .withStartupTimeout(120_000)
    .start()
  return {
    url: `postgresql://postgres:${password}@${container.getHost()}:${container.getMappedPort(5432)}/postgres`,
    stop: async () => {
      await container.stop()
    },
  }
}

/** As the broker's own role, which is no superuser, so that tests see what the broker will. */
async function startEmbedded(): Promise<Server> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-test-'))
  const dismiss = guard(dataDir)
  const { url, stop } = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'warn' }) })
  await asAdmin(url.replace('hallpass@/hallpass', 'postgres@/postgres'), client =>
    client.query('ALTER ROLE hallpass CREATEDB'),
  )
  return {
    url,
    async stop() {
      await stop()
      await rm(dataDir, { recursive: true, force: true })
      dismiss()
    },
  }
}

/** Ends the server and removes its files if this process dies without doing so: its pipe to the guard closes then. */
function guard(dataDir: string): () => void {
  const script = `cat
    pid=$(head -n 1 "$1/postgres/data/postmaster.pid" 2>/dev/null) && kill -INT "$pid"
    n=0; while [ -e "$1/postgres/data/postmaster.pid" ] && [ $n -lt 20 ]; do n=$((n+1)); sleep 0.5; done
    rm -rf "$1"`
  const child = spawn('sh', ['-c', script, 'guard', dataDir], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.unref()
  child.stdin.on('error', () => {})
  return () => child.stdin.end()
}

/** `GET /_ping` of the Docker Engine API, at the usual places. */
async function engineAnswers(): Promise<boolean> {
  const { DOCKER_HOST, XDG_RUNTIME_DIR, HOME } = process.env
  const hosts = DOCKER_HOST
    ? [DOCKER_HOST]
    : ['/var/run', XDG_RUNTIME_DIR, HOME && `${HOME}/.docker/run`].flatMap(folder =>
        folder ? [`unix://${folder}/docker.sock`] : [],
      )
  const answers = await Promise.all(hosts.map(pings))
  return answers.includes(true)
}

function pings(host: string): Promise<boolean> {
  const { protocol, hostname, port, pathname } = new URL(host)
  const target =
    protocol === 'unix:' ? { socketPath: decodeURIComponent(pathname) } : { hostname, port: port || '2375' }
  return new Promise(resolve => {
    const ping = request({ ...target, path: '/_ping', timeout: 1_000 }, response => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    ping.on('timeout', () => ping.destroy(new Error('no answer')))
    ping.on('error', () => resolve(false))
    ping.end()
  })
}
