import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** What is measured, under Prometheus names. */
export interface Metrics {
  registry: Registry
  requests: Histogram<'operation' | 'status'>
  /** Decisions written, by action, verdict and code. */
  decisions: Counter<'action' | 'decision' | 'code'>
  /** Attestations that proved nothing, by reason. */
  unproven: Counter<'reason'>
  /** Deliveries of authorities, by what came of them. */
  hookDeliveries: Counter<'hook' | 'result'>
  swept: Counter
  lastSweep: Gauge
  policyFaults: Gauge
  feedReaders: Gauge<'view'>
  feedCutOff: Counter
  authorityEnd: Gauge<'trust_domain'>
  recordSeq: Gauge
  recordRead: Gauge
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
    hookDeliveries: new Counter({
      name: 'hallpass_hook_deliveries_total',
      help: 'Deliveries of authorities that close tasks, by the most that came of them.',
      labelNames: ['hook', 'result'],
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
    feedReaders: new Gauge({
      name: 'hallpass_feed_readers',
      help: 'Connections that follow the live feed.',
      labelNames: ['view'],
      registers,
    }),
    feedCutOff: new Counter({
      name: 'hallpass_feed_cut_off_total',
      help: 'Readers of the live feed that were cut off because they did not keep up.',
      registers,
    }),
    authorityEnd: new Gauge({
      name: 'hallpass_ca_authority_expiry_timestamp_seconds',
      help: 'When the last authority that signs certificates, or is prepared to, ends; 0 where there is none.',
      labelNames: ['trust_domain'],
      registers,
    }),
    recordSeq: new Gauge({
      name: 'hallpass_record_seq',
      help: 'The last number of the revocation record that this replica has read.',
      registers,
    }),
    recordRead: new Gauge({
      name: 'hallpass_record_read_timestamp_seconds',
      help: 'When this replica last read the whole revocation record, by the clock of the database.',
      registers,
    }),
  }
}
