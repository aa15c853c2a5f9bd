import { StepFailed } from './step.ts'
import { story } from './story.ts'
import { done, failed, say, title, verdict } from './tell.ts'
import { startWorld, type World } from './world.ts'

/**
 * `npm run demo`: the main job on a machine with nothing set up. Exits 0 only if each step came out as told, 1 otherwise, and
 * 130 when it was interrupted. Ends what it started and removes what it wrote, whichever way it goes.
 */
const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => stopping.abort(new Error(`interrupted by ${signal}`)))

const stops: (() => Promise<void>)[] = []
let world: World | undefined
try {
  const since = performance.now()
  title('Hallpass: every CI job gets a credential that dies with its task')
  say('Starting PostgreSQL, the broker, two OpenID providers (a CI’s, the staff’s) and a protected service …')
  world = await startWorld(stopping.signal, stops)
  done(`the broker is open at ${world.broker.url}`, performance.now() - since)
  await story(world)
  verdict(true, `Each step came out as told, in ${((performance.now() - since) / 1000).toFixed(1)} s.`)
} catch (error) {
  tellFailure(error)
} finally {
  for (const stop of stops.toReversed())
    await stop().catch(error => {
      failed(`could not clean up: ${error}`)
      process.exitCode = 1
    })
}

function tellFailure(error: unknown): void {
  process.exitCode = 1
  if (stopping.signal.aborted) {
    process.exitCode = 130
    verdict(false, 'Interrupted: stopping everything that was started.')
    return
  }
  failed(error instanceof StepFailed ? error.message : `the demo could not run: ${error}`)
  const { cause } = error as Error
  if (cause) say(`    ${cause}`)
  if (world) say(`The broker said last:\n${world.broker.lastWords()}`)
  verdict(false, 'Not as told.')
}
