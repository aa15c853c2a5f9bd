/** Everything in milliseconds unless its name says otherwise; paths are absolute. */
export interface Config {
  /** `iss` of all that is signed, byte for byte as configured. */
  issuer: string
  listen: {
    host: string
    port: number
    /** `/metrics` listens here, on the same host; null: nowhere. */
    metricsPort: number | null
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
  tasks: { deadlineDefault: number; deadlineMax: number; retention: number }
  /** Requests a second; null: no limit. */
  limits: { principal: number | null; address: number | null }
}

export type SigningAlg = 'ES256' | 'ES384' | 'RS256' | 'PS256' | 'EdDSA'

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
