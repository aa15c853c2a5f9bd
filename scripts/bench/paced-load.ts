import { Pool } from 'undici'
import type { Request } from './load-plan.ts'
import { send } from './send.ts'
import { moment, work } from './work.ts'

// A process of its own. Requests go out when they are due, whether those before them were answered or not, as they would from
// callers who know nothing of each other.

export interface Pace {
  /** Taken in turn. */
  origins: string[]
  /** Taken in turn, over and over. */
  requests: Request[]
  perSecond: number
}

/** Of each request that was answered: when it was due, and when it was answered (`moment`), in the order of the answers. */
export interface Paced {
  due: Float64Array
  answered: Float64Array
  /** CPU seconds of this process meanwhile. */
  cpu: number
}

export type PacedTasks = { begin: typeof begin; end: () => Promise<Paced> }
work({ begin, end: () => running?.() })

let running: (() => Promise<Paced>) | null = null

function begin({ origins, requests, perSecond }: Pace): void {
  const pools = origins.map(origin => new Pool(origin, { connections: 64, pipelining: 1 }))
  const first = moment()
  const cpu = process.cpuUsage()
  const answers: [due: number, answered: number][] = []
  const under = new Set<Promise<void>>()
  let failure: string | null = null
  let sent = 0
  let timer: NodeJS.Timeout | undefined

  async function one(number: number, due: number): Promise<void> {
    const request = requests[Math.floor(number / pools.length) % requests.length] as Request
    try {
      const { status, body } = await send(pools[number % pools.length] as Pool, request)
      answers.push([due, moment()])
      if (status < 200 || status > 299) failure ??= `${request.path} answered ${status}: ${body()}`
    } catch (error) {
      failure ??= String(error)
    }
  }

  function step(): void {
    const now = moment()
    for (let due = first + (sent * 1_000) / perSecond; due <= now; due = first + (sent * 1_000) / perSecond) {
      const answered = one(sent, due).finally(() => under.delete(answered))
      under.add(answered)
      sent++
    }
    timer = setTimeout(step, first + (sent * 1_000) / perSecond - now)
  }
  step()

  running = async () => {
    running = null
    clearTimeout(timer)
    await Promise.all(under)
    const { user, system } = process.cpuUsage(cpu)
    await Promise.all(pools.map(pool => pool.close()))
    if (failure !== null) throw new Error(failure)
    return {
      due: Float64Array.from(answers, ([due]) => due),
      answered: Float64Array.from(answers, ([, answered]) => answered),
      cpu: (user + system) / 1e6,
    }
  }
}
