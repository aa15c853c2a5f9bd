import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../../src/store/embedded/embedded-postgres.ts'
import {
  canMakeNamespaces,
  canStartAs,
  eventually,
  isRoot,
  postmasterOf,
  query,
  serversBelow,
  start,
  startBroker,
  temporaryDirectory,
} from './support.ts'

const nobody = 65_534
/** No entry in /etc/passwd. */
const nameless = 54_321
const asNobody = await canStartAs(nobody)
const asNameless = (await canStartAs(nameless)) && canMakeNamespaces(nameless)

/** Inodes of sockets that listen on TCP anywhere on this machine (proc_net_tcp: state 0A). */
async function tcpListeners(): Promise<Set<string>> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map(file => readFile(file, 'utf8').catch(() => '')),
  )
  const rows = tables.flatMap(table => table.split('\n').map(row => row.trim().split(/\s+/)))
  return new Set(rows.filter(row => row[3] === '0A').map(row => row[9]!))
}

async function socketsOf(pid: number): Promise<string[]> {
  const links = await Promise.all(
    (await readdir(`/proc/${pid}/fd`)).map(fd => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')),
  )
  return links.flatMap(link => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? [])
}

const socketsIn = (url: string) => new URL(url.replace('@/', '@x/')).searchParams.get('host')!

describe('the embedded PostgreSQL', () => {
  describe('once started', () => {
    let dataDir: string
    let postgres: EmbeddedPostgres

    beforeAll(async () => {
      process.env.HALLPASS_MASTER_KEY = 'c2VjcmV0'
      dataDir = join(await mkdtemp(join(tmpdir(), 'hp-')), 'data')
      await chmod(dirname(dataDir), 0o755)
      postgres = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) })
      delete process.env.HALLPASS_MASTER_KEY
    })
    afterAll(async () => {
      await postgres.stop()
      await rm(dirname(dataDir), { recursive: true })
    })

    it('is durable, with checksums, and the broker is no superuser in it', async () => {
      const [row] = await query(
        postgres.url,
        `SELECT current_user AS role, current_database() AS database, rolsuper,
           current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit,
           current_setting('full_page_writes') AS pages, current_setting('data_checksums') AS checksums
         FROM pg_roles WHERE rolname = current_user`,
      )

      expect(row).toEqual({
        role: 'hallpass',
        database: 'hallpass',
        rolsuper: false,
        fsync: 'on',
        commit: 'on',
        pages: 'on',
        checksums: 'on',
      })
    })

    it('listens on a Unix socket in a directory of mode 0700, and on nothing else', async () => {
      const directory = socketsIn(postgres.url)
      expect((await stat(directory)).mode & 0o777).toBe(0o700)
      expect((await stat(join(directory, '.s.PGSQL.5432'))).mode & 0o777).toBe(0o700)

      const listeners = await tcpListeners()
      const sockets = await socketsOf(await postmasterOf(dataDir))
      expect(sockets.length).toBeGreaterThan(0)
      expect(sockets.filter(inode => listeners.has(inode))).toEqual([])
      expect(await query(postgres.url, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '' }])
    })

    it("keeps the broker's environment, with its master key, from PostgreSQL", async () => {
      const environment = await readFile(`/proc/${await postmasterOf(dataDir)}/environ`, 'utf8')

      expect(environment).toContain('LC_ALL=C')
      expect(environment).not.toContain('c2VjcmV0')
    })

    it('keeps its files from everybody else', async () => {
      // Entered, at the most, by the account that PostgreSQL runs as where namespaces are refused.
      expect((await stat(dataDir)).mode & 0o066).toBe(0)
      expect((await stat(join(dataDir, 'postgres'))).mode & 0o066).toBe(0)
      expect((await stat(join(dataDir, 'postgres/data'))).mode & 0o777).toBe(0o700)
    })

    it("is in a session of its own, out of the reach of a terminal's Ctrl-C", async () => {
      const pid = await postmasterOf(dataDir)
      const fields = await readFile(`/proc/${pid}/stat`, 'utf8')
      // proc_pid_stat(5): pid (comm) state ppid pgrp session …
      const [, , group, session] = fields.slice(fields.lastIndexOf(')') + 2).split(' ')

      expect([Number(group), Number(session)]).toEqual([pid, pid])
    })

    it('logs without the statements that failed and the values in them', async () => {
      await query(postgres.url, "SELECT 's3cret'::text, 1 / 0").catch(() => {})
      const log = await eventually(async () => {
        const text = await readFile(join(dataDir, 'postgres/log/postgres.log'), 'utf8')
        expect(text).toContain('division by zero')
        return text
      })

      expect(log).not.toContain('s3cret')
    })
  })

  it('works where the path is too long for a socket, in a private directory that is gone afterwards', async () => {
    const dataDir = join(await temporaryDirectory(), 'long'.repeat(30))
    const { url, stop } = await start(dataDir)
    const sockets = socketsIn(url)

    expect(sockets).toMatch(/\/hallpass-postgres-\w{6}$/)
    expect((await stat(sockets)).mode & 0o777).toBe(0o700)
    await stop()
    await expect(stat(sockets)).rejects.toThrow(/ENOENT/)
  })

  it('removes the private directory that a killed broker left', async () => {
    const dataDir = join(await temporaryDirectory(), 'long'.repeat(30))
    const broker = await startBroker(dataDir)
    await broker.kill('SIGKILL')
    await start(dataDir)

    await expect(stat(socketsIn(broker.url))).rejects.toThrow(/ENOENT/)
  })

  it('puts that directory in no place where others could swap it', async () => {
    const open = await temporaryDirectory()
    await chmod(open, 0o777)
    process.env.TMPDIR = open
    const { url } = await start(join(open, 'long'.repeat(30)))
    delete process.env.TMPDIR

    expect(dirname(socketsIn(url))).toBe('/tmp')
  })

  it("leaves alone what is recorded as its directory, and is somebody else's by now", async () => {
    const dataDir = await temporaryDirectory()
    const other = join(dataDir, 'hallpass-postgres-abcdef')
    await mkdir(other, { mode: 0o755 })
    await mkdir(join(dataDir, 'postgres'))
    await writeFile(join(dataDir, 'postgres/socket-directory'), other)
    await start(dataDir)

    expect((await stat(other)).isDirectory()).toBe(true)
  })

  it('works in a directory whose name has spaces, commas, quotes, percent signs and letters beyond ASCII', async () => {
    const { url } = await start(join(await temporaryDirectory(), `a b, "c" 'd' 100%25 é`))

    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it.runIf(isRoot)('starts as root inside /root', async () => {
    const { url } = await start(join(await temporaryDirectory('/root'), 'data'))

    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it.runIf(asNobody)('starts as an ordinary user, with nothing of it left after the end', async () => {
    const dataDir = join(await temporaryDirectory(), 'data')
    await mkdir(dataDir, { mode: 0o700 })
    await chown(dataDir, nobody, nobody)

    const broker = await startBroker(dataDir, nobody)

    expect(await query(broker.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect((await stat(join(dataDir, 'postgres/data'))).uid).toBe(nobody)
    await broker.kill('SIGTERM')
    expect(await serversBelow(dataDir)).toEqual([])
  })

  it.runIf(asNameless)('starts as a user without a name', async () => {
    const dataDir = await temporaryDirectory()
    await chown(dataDir, nameless, nameless)

    const broker = await startBroker(dataDir, nameless)

    expect(await query(broker.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('finds its rows again after a stop, and may be stopped twice', async () => {
    const dataDir = await temporaryDirectory()
    const first = await start(dataDir)
    await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS seven')
    await first.stop()
    await first.stop()

    expect(await serversBelow(dataDir)).toEqual([])
    const second = await start(dataDir)
    expect(await query(second.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
  })
})
