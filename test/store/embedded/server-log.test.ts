import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openServerLog } from '../../../src/store/embedded/server-log.ts'
import { temporaryDirectory } from './support.ts'

it("PostgreSQL's log never holds more than two files of 5 MiB", async () => {
  const home = await temporaryDirectory()
  for (let times = 0; times < 40; times++) openServerLog(home).write(Buffer.alloc(1024 * 1024, 'x'))

  const names = await readdir(join(home, 'log'))
  expect(names.sort()).toEqual(['postgres.log', 'postgres.log.1'])
  for (const name of names)
    expect((await stat(join(home, 'log', name))).size).toBeLessThanOrEqual(5 * 1024 * 1024)
})
