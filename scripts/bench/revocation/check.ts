import { randomUUID } from 'node:crypto'
import { decodeJwt } from 'jose'
import { audience, mint, mintRequest, openTask } from '../callers.ts'
import { type Figure, microsecondsEach } from '../report.ts'
import { median, ratios } from '../statistics.ts'
import { brokerIssuer, type World } from '../world.ts'
import type { CheckTasks, Compared } from './check-timer.ts'

/** A verifier's check, with the feed connected, in turn with bare `jwtVerify` on the same token. */
export async function check(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const broker = await world.startBroker(database)
  const svid = world.agents.svid('/agent/1', { audience: brokerIssuer })
  const tasks = [await openTask(broker.url, svid, `run-${randomUUID()}`)]
  for (let depth = 1; depth <= 3; depth++)
    tasks.push(await openTask(broker.url, svid, `run-${randomUUID()}`, tasks.at(-1)))
  const worker = world.startWorker<CheckTasks>(new URL('check-timer.ts', import.meta.url))
  const figures: Figure[] = []
  for (const depth of [0, 3])
    for (const atOnce of [1, 16]) {
      const token = await mint(broker.url, mintRequest(svid, tasks[depth]))
      const { task_path: path = [] } = decodeJwt<{ task_path?: string[] }>(token)
      if (path.length !== depth) throw new Error(`the token names ${path.length} tasks above its own`)
      const compared = await worker.ask('compare', {
        origin: broker.url,
        issuer: brokerIssuer,
        audience,
        token,
        rounds: world.quick ? 4 : 24,
        atOnce,
      })
      figures.push(figureOf(depth, atOnce, compared))
    }
  return figures
}

function figureOf(depth: number, atOnce: number, { verifier, bare }: Compared): Figure {
  const each = (rounds: number[]) => microsecondsEach(median(rounds) / 1_000, 1)
  const above = depth === 0 ? 'no task above its own' : `${depth} tasks above its own`
  const how = atOnce === 1 ? 'one after the other' : `${atOnce} at a time`
  return {
    what: `A verifier's check, revocation included, against bare jwtVerify of jose: token with ${above}, ${how}`,
    measured: `${each(verifier)}, bare ${each(bare)}`,
    ratio: ratios(verifier, bare),
    target: { most: 1.1 },
  }
}
