import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** What is measured, under Prometheus names. */
export interface Metrics {
  registry: Registry
  requests: Histogram<'operation' | 'status'>
  /** Decisions written, by action, verdict and code. */
  decisions: Counter<'action' | 'decision' | 'code'>
  /** Attestations that proved nothing, by reason. */
  unproven: Counter<'reason'>
  swept: Counter
  lastSweep: Gauge
  policyFaults: Gauge
}

/** A registry of its own, so that several brokers can live in one process. `processMetrics` are of the process as a whole. */
export function createMetrics({ processMetrics }: { processMetrics: boolean }): Metrics {
  const registry = new Registry()
  if (processMetrics) collectDefaultMetrics({ register: registry })
  const registers = [registry]
  return {
    registry,
    requests: new Histogram({
      name: 'hallpass_http_request_seconds',
      help: 'Time from the request to its answer.',
      labelNames: ['operation', 'status'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    decisions: new Counter({
      name: 'hallpass_decisions_total',
      help: 'Decisions in the log.',
      labelNames: ['action', 'decision', 'code'],
      registers,
    }),
    unproven: new Counter({
      name: 'hallpass_unproven_total',
      help: 'Requests whose caller proved nothing.',
      labelNames: ['reason'],
      registers,
    }),
    swept: new Counter({
      name: 'hallpass_swept_tasks_total',
      help: 'Tasks that the sweeper closed.',
      registers,
    }),
    lastSweep: new Gauge({
      name: 'hallpass_last_sweep_timestamp_seconds',
      help: 'When this replica last finished a sweep.',
      registers,
    }),
    policyFaults: new Gauge({
      name: 'hallpass_policy_faults',
      help: 'Faults of the policy folder as it is now; above 0 the last good set is in force.',
      registers,
    }),
  }
}
