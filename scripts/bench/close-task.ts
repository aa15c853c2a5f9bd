import { randomUUID } from 'node:crypto'
import { answer, bearer, isActive, mint, mintRequest, openTask } from './callers.ts'
import { type Figure, milliseconds } from './report.ts'
import { addLiveCredentials } from './rows.ts'
import { median, spreadOf } from './statistics.ts'
import { brokerIssuer, type World } from './world.ts'

/** Closes tasks in turn, one with many live credentials and one with a single one. All are opened, and first minted for, as usual. */
export async function closeTask(world: World): Promise<Figure[]> {
  const many = world.quick ? 10_000 : 100_000
  const rounds = world.quick ? 4 : 12
  const database = await world.createDatabase()
  const { url, stop } = await world.startBroker(database)
  const svid = world.agents.svid('/agent/1', { audience: brokerIssuer })
  const open = async () => {
    const taskId = await openTask(url, svid, `run-${randomUUID()}`)
    return { taskId, token: await mint(url, mintRequest(svid, taskId)) }
  }
  const close = async ({ taskId, token }: { taskId: string; token: string }) => {
    const start = performance.now()
    const { state } = await answer(`${url}/v1/tasks/${taskId}/close`, { headers: bearer(svid), body: '' })
    const took = performance.now() - start
    if (state !== 'closed' || (await isActive(world, url, token))) throw new Error('a closed task lives on')
    return took
  }

  const pairs: { large: Awaited<ReturnType<typeof open>>; small: Awaited<ReturnType<typeof open>> }[] = []
  for (let n = 0; n < rounds; n++) {
    const pair = { large: await open(), small: await open() }
    await addLiveCredentials(database, pair.large.taskId, many - 1)
    pairs.push(pair)
  }
  for (let n = 0; n < 50; n++) await close(await open())
  await database.settle()

  const took = { large: [] as number[], small: [] as number[] }
  for (const [n, pair] of pairs.entries())
    for (const size of n % 2 === 0 ? (['large', 'small'] as const) : (['small', 'large'] as const))
      took[size].push(await close(pair[size]))
  await stop()
  await database.drop()
  // Single closings take a few milliseconds, most of them the disk's: of a pair, the ratio would tell of the disk alone.
  const middle = median(took.large) / median(took.small)
  const { least, most } = spreadOf(took.large.map(ms => ms / median(took.small)))
  return [
    {
      what: `Closing a task with ${many.toLocaleString('en')} live credentials, against one with a single one`,
      measured: `p50 ${milliseconds(median(took.large))}, single ${milliseconds(median(took.small))}, of ${rounds} each`,
      ratio: { median: middle, least, most },
      target: { most: 1.5 },
    },
  ]
}
