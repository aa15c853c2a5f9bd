import { cpus, loadavg } from 'node:os'
import { type Figure, table } from './report.ts'
import { openWorld, type World } from './world.ts'

/** One part of a bench: what it measures, and the figures of it. Throws where what it measures is not as it must be. */
export type Part = (world: World) => Promise<Figure[]>

/**
 * Runs the parts of a bench one after the other, and prints their figures as one table. A part that fails does not stop those after it;
 * the process then ends with 1. A figure that misses its target is a figure.
 *
 * @param only the names of the parts to run; all of them unless given. An unknown one ends the process with 2
 */
export async function runParts(
  parts: Record<string, Part>,
  { only, quick }: { only?: string | undefined; quick: boolean },
): Promise<void> {
  const names = only?.split(',') ?? Object.keys(parts)
  const unknown = names.filter(name => !Object.hasOwn(parts, name))
  if (unknown.length > 0) {
    process.stderr.write(`there is no ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}\n`)
    process.exit(2)
  }
  await inWorld({ quick }, async world => {
    const figures: Figure[] = []
    for (const name of names) {
      const from = performance.now()
      const took = () =>
        `${Math.round((performance.now() - from) / 1000)} s, load ${loadavg()[0]?.toFixed(1)}`
      try {
        figures.push(...((await parts[name]?.(world)) ?? []))
        say(`${name}: ${took()}`)
      } catch (error) {
        if (world.isClosed()) return
        process.exitCode = 1
        say(`${name}: failed, ${took()}`)
        process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
      }
      await world.clear()
    }
    say(`\n${table(figures)}\n`)
  })
}

/** Opens a world for the work, and closes it whatever happens. Whoever interrupts it leaves nothing behind. */
export async function inWorld(
  options: { quick: boolean },
  work: (world: World) => Promise<void>,
): Promise<void> {
  const start = performance.now()
  const opening = openWorld(options)
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => opening.then(({ close }) => close()).finally(() => process.exit(130)))
  const world = await opening
  try {
    await work(world)
  } finally {
    await world.close()
  }
  say(
    `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, ${Math.round((performance.now() - start) / 1000)} s in all`,
  )
}

export const say = (text: string): void => {
  process.stdout.write(`${text}\n`)
}
