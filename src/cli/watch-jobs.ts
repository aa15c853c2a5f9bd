import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { readSecret } from '../config/hook-secret.ts'
import { urlFault } from '../config/url.ts'
import { CommandError, type Io } from './io.ts'
import { kubernetesApi } from './kubernetes/api.ts'
import { type Backoff, forwarder } from './kubernetes/forward.ts'
import { type Resource, watchResource } from './kubernetes/watch.ts'

interface Options {
  hook: string
  secretFile?: string
  namespace?: string
  selector?: string
  server?: string
  tokenFile?: string
  caFile?: string
}

/** Where the kubelet puts what a pod needs to speak with the API ("Accessing the Kubernetes API from a Pod"). */
const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount'
const usualBackoff: Backoff = { least: 1_000, most: 30_000 }

export const addWatchJobs = (program: Command, io: Io): void => {
  program
    .command('watch-jobs')
    .description('tell the broker of each pod and job of this cluster that is over; runs until it is stopped')
    .requiredOption('--hook <url>', 'the hook, such as https://hallpass.example/hooks/kubernetes')
    .option('--secret-file <file>', 'the hook’s secret; by default $HALLPASS_HOOK_SECRET')
    .option('--namespace <name>', 'of this namespace alone')
    .option('--selector <labels>', 'with these labels alone, such as hallpass=yes')
    .option('--server <url>', 'the API server; by default that of the cluster that this runs in')
    .option('--token-file <file>', 'the token for it; by default the service account’s, or none for --server')
    .option('--ca-file <file>', 'who vouches for it; by default the cluster’s, or the system’s for --server')
    .action(async (options: Options) => {
      const stop = new AbortController()
      const onSignal = () => stop.abort()
      process.once('SIGTERM', onSignal).once('SIGINT', onSignal)
      try {
        await watchJobs(io, options, stop.signal)
      } finally {
        process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
      }
    })
}

/** Watches until `signal`. Throws `CommandError` for options that cannot be meant. */
export async function watchJobs(
  io: Io,
  options: Options,
  signal: AbortSignal,
  backoff: Backoff = usualBackoff,
): Promise<void> {
  const { namespace, selector = null, hook } = options
  mustBeUrl('--hook', hook)
  if (namespace !== undefined && !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(namespace))
    throw new CommandError('--namespace is not the name of a namespace', 2)
  const { out, err, fetch } = io
  const api = kubernetesApi({ ...serverOf(io, options), signal })
  const forward = forwarder({ url: hook, secret: secretOf(io, options), fetch, err, backoff, signal })
  await Promise.all(
    resourcesIn(namespace).map(resource =>
      watchResource({ api, forward, selector, backoff, out, err, signal }, resource),
    ),
  )
}

const resourcesIn = (namespace: string | undefined): Resource[] => {
  const within = namespace === undefined ? '' : `/namespaces/${namespace}`
  return [
    { path: `/api/v1${within}/pods`, apiVersion: 'v1', kind: 'Pod' },
    { path: `/apis/batch/v1${within}/jobs`, apiVersion: 'batch/v1', kind: 'Job' },
  ]
}

function serverOf(io: Io, { server, tokenFile, caFile }: Options) {
  const file = (path: string): string => resolve(io.cwd, path)
  if (server !== undefined) {
    mustBeUrl('--server', server)
    return {
      server,
      tokenFile: tokenFile === undefined ? null : file(tokenFile),
      ca: caFile === undefined ? null : read(file(caFile)),
    }
  }
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = io.env
  if (!host) throw new CommandError('This runs in no cluster: give --server', 2)
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    tokenFile: file(tokenFile ?? `${serviceAccount}/token`),
    ca: read(file(caFile ?? `${serviceAccount}/ca.crt`)),
  }
}

function secretOf(io: Io, { secretFile }: Options): string {
  if (secretFile === undefined) {
    const given = io.env.HALLPASS_HOOK_SECRET
    if (!given) throw new CommandError('There is no secret: give --secret-file or $HALLPASS_HOOK_SECRET', 2)
    return given
  }
  const found = readSecret(resolve(io.cwd, secretFile))
  if ('fault' in found) throw new CommandError(`--secret-file ${found.fault}`)
  return found.secret
}

function mustBeUrl(option: string, url: string): void {
  const fault = urlFault(url) ?? (url.includes('?') ? 'must not have a query' : null)
  if (fault !== null) throw new CommandError(`${option} ${fault}`, 2)
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CommandError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
