import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  canMakeNamespaces,
  query,
  start,
  startBroker,
  startBrokerWithoutNamespaces,
  temporaryDirectory,
} from './support.ts'

describe.runIf(canMakeNamespaces())('as root where namespaces are refused, the embedded PostgreSQL', () => {
  it('runs under an account without privileges, on a cluster that was made in a namespace, too, and for good', async () => {
    const dataDir = await temporaryDirectory()
    const first = await start(dataDir)
    await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS seven')
    await first.stop()
    expect((await stat(join(dataDir, 'postgres/data'))).uid).toBe(0)

    const second = await startBrokerWithoutNamespaces(dataDir)
    expect(await query(second.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
    const { uid } = await stat(join(dataDir, 'postgres/data'))
    expect(uid).not.toBe(0)
    await second.kill('SIGKILL')

    const third = await start(dataDir)
    expect(await query(third.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
    expect((await stat(join(dataDir, 'postgres/data'))).uid).toBe(uid)
  })

  it('keeps its files elsewhere where that account cannot enter the data directory, as in /root', async () => {
    const dataDir = join(await temporaryDirectory('/root'), 'data')
    const first = await start(dataDir)
    await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS seven')
    await first.stop()

    const second = await startBrokerWithoutNamespaces(dataDir)
    const elsewhere = await readFile(join(dataDir, 'postgres/elsewhere'), 'utf8')
    expect(elsewhere).toMatch(/^\/var\/lib\/hallpass\/[0-9a-f]{16}$/)
    expect(await query(second.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
    await expect(startBroker(dataDir)).rejects.toThrow(/another broker is running/)
    await second.kill('SIGTERM')

    const third = await start(dataDir)
    expect(await query(third.url, 'SELECT seven FROM kept')).toEqual([{ seven: 7 }])
    await third.stop()

    await rm(elsewhere, { recursive: true })
    await expect(start(dataDir)).rejects.toThrow(/was in .*, which is gone/)
  })
})
