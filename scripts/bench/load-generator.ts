import { Client } from 'undici'
import type { Outcome, Plan, Request } from './load-plan.ts'
import { send } from './send.ts'
import { percentile } from './statistics.ts'
import { work } from './work.ts'

// A process of its own: what it spends on making requests is nobody else's CPU. One connection a caller, kept alive; the next
// request goes out when the answer is in.

export type LoadTasks = { run: typeof run }
work({ run })

async function run({ origin, callers, requests, stop }: Plan): Promise<Outcome> {
  const clients = Array.from({ length: callers }, () => new Client(origin, { pipelining: 1 }))
  const latencies: number[] = []
  let failure: string | null = null
  let next = 0
  const cpu = process.cpuUsage()
  const start = performance.now()
  const end = stop === 'once' ? Number.POSITIVE_INFINITY : start + stop.after

  const take = (): Request | undefined => {
    if (failure !== null || performance.now() >= end) return undefined
    const index = next++
    return requests[stop === 'once' ? index : index % requests.length]
  }
  const caller = async (client: Client): Promise<void> => {
    for (let request = take(); request; request = take()) {
      const sent = performance.now()
      const { status, body } = await send(client, request)
      latencies.push(performance.now() - sent)
      if (status < 200 || status > 299) failure ??= `${request.path} answered ${status}: ${body()}`
    }
  }
  await Promise.all(clients.map(caller))

  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  await Promise.all(clients.map(client => client.close()))
  if (failure !== null) throw new Error(failure)
  const sorted = Float64Array.from(latencies).sort()
  return {
    answered: sorted.length,
    seconds,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    cpu: (user + system) / 1e6,
  }
}
