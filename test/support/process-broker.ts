import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { urlOf } from '../../src/store/embedded/connection.ts'
import { testIssuer } from './broker.ts'
import { type Client, createClient } from './client.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A broker as users run it: `src/main.ts` as a process of its own, its configuration in a file, its PostgreSQL below `data_dir`. */
export interface ProcessBroker {
  /** Of the process that runs now. */
  client: Client
  url: string
  /** Of its PostgreSQL, whichever process that is. */
  databaseUrl: string
  issuer: string
  start(): Promise<void>
  /** SIGKILL for the broker alone: PostgreSQL is left behind. Waits for the end. */
  kill(): Promise<void>
  /** SIGKILL for PostgreSQL alone. */
  killDatabase(): Promise<void>
  /** Until a PostgreSQL answers that is not the one that was killed. */
  databaseBack(): Promise<void>
  sql<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  /** What it last said, on both streams. */
  lastWords(): string
  close(): Promise<void>
}

export async function processBroker(options: { yaml: string; policies: string }): Promise<ProcessBroker> {
  const folder = await mkdtemp(join(tmpdir(), 'hp-'))
  const config = join(folder, 'hallpass.yaml')
  await writeFile(join(folder, 'test.cedar'), options.policies)
  await writeFile(
    config,
    `issuer: ${testIssuer}\nlisten: { port: 0 }\ndata_dir: ./data\npolicy: { dir: . }\n${options.yaml}`,
  )
  const postgres = join(folder, 'data', 'postgres')
  const postmaster = async () =>
    Number((await readFile(join(postgres, 'data', 'postmaster.pid'), 'utf8')).split('\n')[0])

  let child: ChildProcess | undefined
  let killed = 0
  const said: string[] = []
  const self: ProcessBroker = {
    client: createClient({ baseUrl: 'http://127.0.0.1:1' }),
    url: 'http://127.0.0.1:1',
    databaseUrl: urlOf(join(postgres, 'socket'), 'hallpass', 'hallpass'),
    issuer: testIssuer,

    async start() {
      const { PATH, HOME, TMPDIR } = process.env
      const started = spawn(process.execPath, ['src/main.ts'], {
        cwd: root,
        env: { PATH, HOME, TMPDIR, HALLPASS_CONFIG: config },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      child = started
      const url = await new Promise<string>((resolve, reject) => {
        for (const stream of [started.stdout, started.stderr])
          createInterface({ input: stream }).on('line', line => {
            said.push(line)
            const { msg, url: open } = parsed(line)
            if (msg === 'hallpass is open' && open) resolve(open)
          })
        started.once('exit', code => reject(new Error(`the broker ended (${code}):\n${self.lastWords()}`)))
      })
      self.client = createClient({ baseUrl: url })
      self.url = url
    },

    async kill() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    },

    async killDatabase() {
      killed = await postmaster()
      process.kill(killed, 'SIGKILL')
    },

    async databaseBack() {
      for (;;) {
        const other = (await postmaster().catch(() => killed)) !== killed
        const answers = other && (await self.sql('SELECT 1').catch(() => null))
        if (answers) return
        await sleep(20)
      }
    },

    async sql(text, values) {
      const client = new pg.Client({ connectionString: self.databaseUrl })
      await client.connect()
      try {
        return (await client.query(text, values)).rows
      } finally {
        await client.end()
      }
    },

    lastWords: () => said.slice(-15).join('\n'),

    async close() {
      await self.kill()
      // There may be none any more.
      await postmaster()
        .then(pid => process.kill(pid, 'SIGKILL'))
        .catch(() => {})
      await rm(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 })
    },
  }
  return self
}

function parsed(line: string): { msg?: string; url?: string } {
  try {
    return JSON.parse(line)
  } catch {
    return {}
  }
}
