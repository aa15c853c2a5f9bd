import { readdir, readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { connect } from '../../../src/store/embedded/connection.ts'
import {
  eventually,
  postmasterOf,
  query,
  serversBelow,
  start,
  startBroker,
  temporaryDirectory,
} from './support.ts'

describe('the embedded PostgreSQL after a crash', () => {
  it('has every row whose commit was answered before the broker was killed, mid-write (invariant 12)', async () => {
    const dataDir = await temporaryDirectory()
    const broker = await startBroker(dataDir)
    const client = await connect(broker.url)
    await client.query('CREATE TABLE counted (n integer)')
    let answered = 0
    const writing = (async () => {
      for (let n = 1; ; n++) {
        await client.query('INSERT INTO counted VALUES ($1)', [n])
        answered = n
      }
    })().catch(() => {})
    await eventually(async () => expect(answered).toBeGreaterThan(50))

    await broker.kill('SIGKILL')
    const orphan = await postmasterOf(dataDir)
    const next = await start(dataDir)
    await writing

    expect(await postmasterOf(dataDir)).not.toBe(orphan)
    const [row] = await query(next.url, 'SELECT count(*)::int AS rows, max(n) AS last FROM counted')
    expect(row!.rows).toBe(row!.last)
    expect(row!.last).toBeGreaterThanOrEqual(answered)
  })

  it('starts when broker and PostgreSQL were killed together', async () => {
    const dataDir = await temporaryDirectory()
    const broker = await startBroker(dataDir)
    await query(broker.url, 'CREATE TABLE kept AS SELECT 7 AS seven')
    const postmaster = await postmasterOf(dataDir)
    process.kill(postmaster, 'SIGKILL')
    await broker.kill('SIGKILL')

    const next = await start(dataDir)

    expect(await query(next.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
  })

  it('ends the server of a killed broker although a client is in a transaction', async () => {
    const dataDir = await temporaryDirectory()
    const broker = await startBroker(dataDir)
    const client = await connect(broker.url)
    await client.query('BEGIN')
    await broker.kill('SIGKILL')

    const next = await start(dataDir)

    expect(await query(next.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('starts after a broker was killed while it made the cluster', async () => {
    const dataDir = await temporaryDirectory()
    const starting = startBroker(dataDir).catch(() => {})
    await eventually(async () => {
      const names = await readdir(`${dataDir}/postgres`)
      expect(names.some(name => name.startsWith('data.new-'))).toBe(true)
    })
    await killBrokerOn(dataDir)
    await starting

    const next = await start(dataDir)

    expect(await query(next.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect((await readdir(`${dataDir}/postgres`)).filter(name => name.startsWith('data.'))).toEqual([])
  })

  it('comes back, with its rows, when it is killed and the broker lives', async () => {
    const dataDir = await temporaryDirectory()
    const { url, stop } = await start(dataDir)
    await query(url, 'CREATE TABLE kept AS SELECT 7 AS seven')

    for (let times = 0; times < 3; times++) {
      const killed = await postmasterOf(dataDir)
      process.kill(killed, 'SIGKILL')
      await eventually(async () => expect(await postmasterOf(dataDir)).not.toBe(killed))
      expect(await eventually(() => query(url, 'SELECT seven FROM kept'))).toEqual([{ seven: 7 }])
    }

    await stop()
    expect(await serversBelow(dataDir)).toEqual([])
  })

  it('stays down when it is stopped while it comes back', async () => {
    const dataDir = await temporaryDirectory()
    const { stop } = await start(dataDir)
    process.kill(await postmasterOf(dataDir), 'SIGKILL')

    await stop()

    expect(await serversBelow(dataDir)).toEqual([])
  })

  it('ends with a broker that exits without stopping it', async () => {
    const dataDir = await temporaryDirectory()
    const broker = await startBroker(dataDir)
    await broker.kill('SIGUSR2')

    await eventually(async () => expect(await serversBelow(dataDir)).toEqual([]))
  })
})

async function killBrokerOn(dataDir: string): Promise<void> {
  for (const pid of await readdir('/proc')) {
    const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (words.includes(`broker.ts\0${dataDir}\0`)) process.kill(Number(pid), 'SIGKILL')
  }
}
