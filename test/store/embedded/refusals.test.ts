import { spawn } from 'node:child_process'
import { chmod, chown, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  canMakeNamespaces,
  canStartAs,
  isRoot,
  query,
  serversBelow,
  start,
  startBroker,
  startBrokerWithoutNamespaces,
  temporaryDirectory,
} from './support.ts'

const nobody = 65_534
/** No entry in /etc/passwd. */
const nameless = 54_321
const asNobody = await canStartAs(nobody)
const asNameless = (await canStartAs(nameless)) && canMakeNamespaces()

describe('the embedded PostgreSQL refuses', () => {
  it('a second broker on a data directory that a live one owns, which goes on undisturbed', async () => {
    const dataDir = await temporaryDirectory()
    const first = await startBroker(dataDir)

    await expect(start(dataDir)).rejects.toThrow(/another broker is running on .*postgres/)

    expect(await query(first.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('a second start in the same process, and other processes still after that', async () => {
    const dataDir = await temporaryDirectory()
    const first = await start(dataDir)

    await expect(start(dataDir)).rejects.toThrow(/another broker is running/)
    // Closing a second handle must not have given the first one's lock away (fcntl(2)).
    await expect(startBroker(dataDir)).rejects.toThrow(/another broker is running/)

    expect(await query(first.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('all but one of several brokers that start on a new data directory at the same moment', async () => {
    const dataDir = await temporaryDirectory()

    const starts = await Promise.allSettled([1, 2, 3].map(() => startBroker(dataDir)))

    expect(starts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const { reason } of starts.filter(result => result.status === 'rejected'))
      expect(`${reason}`).toMatch(/another broker is running/)
  })

  it('a cluster of another major version, leaving it as it is', async () => {
    const dataDir = await temporaryDirectory()
    await (await start(dataDir)).stop()
    await writeFile(join(dataDir, 'postgres/data/PG_VERSION'), '17\n')

    await expect(start(dataDir)).rejects.toThrow(
      /was made by PostgreSQL 17, and this Hallpass brings PostgreSQL 18/,
    )

    expect(await serversBelow(dataDir)).toEqual([])
  })

  it('a directory in which there is something else, leaving it as it is', async () => {
    const dataDir = await temporaryDirectory()
    await mkdir(join(dataDir, 'postgres/data'), { recursive: true })

    await expect(start(dataDir)).rejects.toThrow(/is no PostgreSQL data directory/)
  })

  it.runIf(isRoot)("root, in another user's cluster: what root does there could be steered", async () => {
    const dataDir = await temporaryDirectory()
    await mkdir(join(dataDir, 'postgres'))
    await chown(join(dataDir, 'postgres'), 1000, 1000)

    await expect(start(dataDir)).rejects.toThrow(/belongs to user ID 1000: start the broker as that user/)
  })

  it('a directory in which others could have put something', async () => {
    const dataDir = await temporaryDirectory()
    await mkdir(join(dataDir, 'postgres'))
    await chmod(join(dataDir, 'postgres'), 0o777)

    await expect(start(dataDir)).rejects.toThrow(/could be written by others/)
  })

  it.runIf(asNobody)('a cluster of another user, to an ordinary user', async () => {
    const dataDir = await temporaryDirectory()
    await mkdir(join(dataDir, 'postgres/data'), { recursive: true })
    for (const path of [dataDir, join(dataDir, 'postgres')]) await chown(path, nobody, nobody)

    await expect(startBroker(dataDir, nobody)).rejects.toThrow(
      /belong to user ID 0: start the broker as that user/,
    )
  })

  it.runIf(asNameless)(
    'a user without a name where namespaces are refused, and says what to do',
    async () => {
      const dataDir = await temporaryDirectory()
      await chown(dataDir, nameless, nameless)

      await expect(startBrokerWithoutNamespaces(dataDir, nameless)).rejects.toThrow(
        /user ID 54321 has no entry in \/etc\/passwd/,
      )
    },
  )

  it('to signal a process that merely has the number in postmaster.pid, and starts all the same', async () => {
    const dataDir = await temporaryDirectory()
    const first = await start(dataDir)
    await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS seven')
    await first.stop()
    const bystander = spawn('sleep', ['600'], { stdio: 'ignore' })
    onTestFinished(() => {
      bystander.kill('SIGKILL')
    })
    const data = join(dataDir, 'postgres/data')
    const file = join(data, 'postmaster.pid')
    await writeFile(file, `${bystander.pid}\n${data}\n1\n5432\n\n\n`, { mode: 0o600 })
    const { uid, gid } = await stat(data)
    await chown(file, uid, gid)

    const second = await start(dataDir)

    expect(await query(second.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
    expect([bystander.exitCode, bystander.signalCode]).toEqual([null, null])
  })
})
