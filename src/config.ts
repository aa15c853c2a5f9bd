import { dirname, resolve } from 'node:path'
import { type Env, readEnvironment } from './config/environment.ts'
import { ConfigError, type Fault, type Report } from './config/fault.ts'
import type { hookKinds } from './config/hook-kinds.ts'
import { checkHooks } from './config/hook-rules.ts'
import { at, textAt } from './config/raw.ts'
import { checkRules } from './config/rules.ts'
import { settle } from './config/settle.ts'
import { parseShape } from './config/shape.ts'
import type { signingAlgs } from './config/signing-algs.ts'
import { checkTrust } from './config/trust-rules.ts'
import { defaultIssuer } from './config/url.ts'
import { parseYaml, readText } from './config/yaml-file.ts'

export type { Env } from './config/environment.ts'
export { ConfigError, type Fault } from './config/fault.ts'
export { listeningOn } from './config/settle.ts'

/** Everything in milliseconds unless its name says otherwise; paths are absolute. */
export interface Config {
  /** `iss` of all that is signed, byte for byte as configured. */
  issuer: string
  listen: {
    host: string
    port: number
    /** `/metrics` listens here, on the same host; null: nowhere. */
    metricsPort: number | null
    /** Mutual TLS, on the same host; null: nowhere. Files of PEM, read again when they are renewed; null: the broker's own CA provides. */
    mtls: { port: number; cert: string | null; key: string | null } | null
    trustedProxies: string[]
  }
  dataDir: string
  /** null: the embedded PostgreSQL under `dataDir`. */
  database: { url: string } | null
  /** 32 bytes from HALLPASS_MASTER_KEY; null: generated into and read from `dataDir`. */
  masterKey: Buffer | null
  clockSkew: number
  trust: TrustSource[]
  /** null: no folder was named and the default one does not exist; the built-in policies stand alone. */
  policy: { dir: string | null }
  credentials: {
    ttlDefault: number
    ttlMax: number
    signingAlg: SigningAlg
    /** By audience. */
    signingAlgFor: Record<string, SigningAlg>
  }
  tasks: {
    deadlineDefault: number
    deadlineMax: number
    /** How many tasks may be above another: 0, no children at all. */
    depthMax: number
    retention: number
  }
  /** Requests a second; null: no limit. */
  limits: { principal: number | null; address: number | null }
  /** Readers of the live feed at a time: of all, those who do not say who they are, and of these those of one address. */
  feed: { readers: number; anonymous: number; perAddress: number; perPrincipal: number }
  /** Certificates for workloads: the broker's own trust domain, and the path of their SPIFFE IDs; null: it has no trust domain. */
  pki: { trustDomain: string; path: string } | null
  /** Authorities that close tasks. */
  hooks: Hook[]
}

export type SigningAlg = (typeof signingAlgs)[number]

export type TrustSource = OidcSource | SpiffeSource

export interface OidcSource {
  kind: 'oidc'
  name: string
  issuer: string
  audience: string
  /** null: by OIDC discovery. */
  jwksUri: string | null
  /** Flattened claims (contract §2) that must have exactly this value. */
  require: Record<string, string>
  /** An attestation of this source stands for one job. */
  task: TaskTemplate | null
  reuse: 'any' | 'once'
  /** Principals from here are operators, never workloads. */
  operators: { groupsClaim: string; maxAge: number } | null
}

export interface SpiffeSource {
  kind: 'spiffe'
  name: string
  trustDomain: string
  audience: string
  bundle: { url: string } | { file: string }
  reuse: 'any' | 'once'
}

export interface TaskTemplate {
  kind: string
  /** With `{claim}` placeholders, flattened names. */
  ref: string
  bind: string[]
}

export interface Hook {
  name: string
  kind: (typeof hookKinds)[number]
  secret: string
  /** The trust source whose tasks it ends; null: tasks of any. */
  trust: string | null
  /** How the `ref` of a task that ended is made: of names of claims that the authority tells, or of paths into what it sent. */
  ref: string
  /** Where the signature of its deliveries is. */
  header: string
  /** Which states that it tells are the end of a task; null for kinds that the broker knows. */
  state: HookState | null
}

export interface HookState {
  /** Names of members joined by dots. */
  path: string
  completed: string[]
  failed: string[]
  cancelled: string[]
}

export interface LoadedConfig extends Config {
  /** What was accepted all the same: keys that do nothing in this version, secrets that are too short. */
  warnings: string[]
}

/**
 * Reads hallpass.yaml (`$HALLPASS_CONFIG`, else `./hallpass.yaml`; absent, defaults) and the variables that override it.
 * With `listen.port: 0` and no issuer, pass the result through `listeningOn` once the port is known.
 * @throws ConfigError with every fault at once.
 */
export const loadConfig = ({ env, cwd }: { env: Env; cwd: string }): LoadedConfig => {
  const faults: Fault[] = []
  const report: Report = (path, message) => faults.push({ path, message })

  const { file, raw } = readFile(env, cwd, report)
  const base = dirname(file)
  const environment = readEnvironment(env, report)
  const shape = parseShape(raw, report)
  const port = environment.port.value ?? at(raw, 'listen', 'port') ?? 8420
  checkRules(raw, { base, environment, port, report })
  checkTrust(raw, textAt(raw, 'issuer') ?? (port === 0 ? null : defaultIssuer(Number(port))), report)
  checkHooks(raw, base, report)

  if (shape === undefined || faults.length > 0) throw new ConfigError(faults)
  return settle(shape, { base, environment })
}

/** The file's path, there or not, since relative paths start from its folder; and what it says, `{}` where it says nothing. */
const readFile = (env: Env, cwd: string, report: Report): { file: string; raw: unknown } => {
  const named = env.HALLPASS_CONFIG
  if (named === '') report('$HALLPASS_CONFIG', 'is set, but empty')
  const file = resolve(cwd, named || 'hallpass.yaml')
  const text = readText(file, report)
  if (text === null && named) report('$HALLPASS_CONFIG', 'names a file that is not there')
  return { file, raw: text == null ? {} : (parseYaml(text, report) ?? {}) }
}
