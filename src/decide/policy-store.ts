import { type FSWatcher, watch } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { HallpassError } from '../errors.ts'
import { type CompiledPolicies, type CompileResult, compilePolicies } from './compile.ts'
import { type Fault, faultText } from './fault.ts'
import { compileFolder, type PolicyFolder, readFolder } from './folder.ts'

export interface PolicyStoreOptions {
  /** null: no folder, the built-in policies alone. */
  dir: string | null
  log: Pick<Logger, 'info' | 'warn' | 'error'>
  /** Milliseconds between two looks at the folder, besides those that the system's own notice brings. */
  pollEvery?: number
  /** Milliseconds that the folder must stay the same before a change is taken up. */
  settle?: number
  /** A new set is in force. */
  onChange?: (compiled: CompiledPolicies) => void
  /** A change was refused. */
  onFault?: (faults: readonly Fault[]) => void
}

export interface PolicyStore {
  /** The set in force: the last good one. Take it once for each request. */
  current(): CompiledPolicies
  /** What is wrong with the folder as it is now, while the last good set stays in force. */
  faults(): readonly Fault[]
  /** Looks at the folder now; resolves when what was found is in force or refused. Never rejects. */
  reload(): Promise<void>
  stop(): void
}

/** How often a folder that keeps changing is read again before the change is left for the next look. */
const maxReads = 10

/**
 * Loads the folder and follows it. Throws a HallpassError that names every fault if it is not good to begin with; from
 * then on a bad change is refused, logged, and the last good set stays.
 */
export async function createPolicyStore(options: PolicyStoreOptions): Promise<PolicyStore> {
  const { dir, log, pollEvery = 2000, settle = 100 } = options
  let seen = dir === null ? null : await settled(dir, settle, null)
  let faults: readonly Fault[] = []

  if (dir !== null && seen === null) throw new HallpassError('invalid', 'the policy folder keeps changing')
  const first = seen === null ? compilePolicies([]) : compileFolder(seen)
  if (!first.ok) {
    throw new HallpassError('invalid', `the policies have faults:\n${first.faults.map(faultText).join('\n')}`)
  }
  let current = first.compiled
  logLoaded(log, 'policies loaded', first)

  const look = async (): Promise<void> => {
    if (dir === null) return
    const folder = await settled(dir, settle, seen)
    if (folder === null) return void log.warn('the policy folder keeps changing, the last good set stays')
    if (folder.digest === seen?.digest) return
    seen = folder
    const result = compileSafely(folder)
    if (!result.ok) {
      faults = result.faults
      log.error(
        { faults: faults.map(faultText), version: current.version },
        'policy change refused, the last good set stays',
      )
      options.onFault?.(faults)
      return
    }
    faults = []
    // Back to what is in force: keep what is remembered with it.
    if (result.compiled.version === current.version) return
    current = result.compiled
    logLoaded(log, 'policies reloaded', result)
    options.onChange?.(current)
  }

  // One look at a time, and at most one waiting: it will see whatever the next would.
  let running: Promise<void> = Promise.resolve()
  let waiting: Promise<void> | null = null
  const reload = (): Promise<void> => {
    waiting ??= running = running.then(async () => {
      waiting = null
      await look().catch(cause =>
        log.error({ err: cause }, 'policies could not be looked at, the last good set stays'),
      )
    })
    return waiting
  }

  const watcher = dir === null ? null : watchFolder(dir, () => void reload(), log)
  // Notices get lost, and where a volume swaps folders under a link there are none.
  const timer = setInterval(() => void reload(), pollEvery)
  timer.unref()
  return {
    current: () => current,
    faults: () => faults,
    reload,
    stop() {
      watcher?.close()
      clearInterval(timer)
    },
  }
}

/** The folder once two readings in a row agree, so that a change of several files is taken up whole; null if they never do. */
async function settled(dir: string, settle: number, seen: PolicyFolder | null): Promise<PolicyFolder | null> {
  let folder = await readFolder(dir)
  if (folder.digest === seen?.digest) return folder
  for (let reads = 1; reads < maxReads; reads++) {
    await sleep(settle)
    const again = await readFolder(dir)
    if (again.digest === folder.digest) return again
    folder = again
  }
  return null
}

/** A failure of the engine itself is a fault of the change that brought it on. */
function compileSafely(folder: PolicyFolder): CompileResult {
  try {
    return compileFolder(folder)
  } catch {
    const message = 'the policy engine failed on these policies'
    return { ok: false, faults: [{ file: '.', line: 1, column: 1, policy: null, message }], warnings: [] }
  }
}

function watchFolder(dir: string, changed: () => void, log: PolicyStoreOptions['log']): FSWatcher | null {
  const unwatched = (cause: unknown): void =>
    log.warn({ err: cause }, 'the policy folder is not watched, only polled')
  try {
    const watcher = watch(dir, { persistent: false }, changed)
    watcher.on('error', cause => {
      watcher.close()
      unwatched(cause)
    })
    return watcher
  } catch (cause) {
    unwatched(cause)
    return null
  }
}

function logLoaded(
  log: PolicyStoreOptions['log'],
  message: string,
  result: CompileResult & { ok: true },
): void {
  const { version, policies } = result.compiled
  log.info({ version, policies: policies.size }, message)
  if (result.warnings.length > 0) log.warn({ warnings: result.warnings.map(faultText) }, 'policy warnings')
}
