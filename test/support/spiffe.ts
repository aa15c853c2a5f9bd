import { rename, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import {
  answer,
  type Fault,
  generateKey,
  listen,
  shut,
  signJws,
  type TestAlg,
  type TestKey,
} from './issuer.ts'
import { createX509TrustDomain, type X509TrustDomain } from './x509.ts'

export interface TestTrustDomain {
  name: string
  /** The published JWT-SVID keys; change it freely. The first one signs by default. */
  keys: TestKey[]
  /** Its X.509 authorities, which the bundle has too. */
  x509: X509TrustDomain
  sequence: number
  /** Seconds; null leaves the hint out. */
  refreshHint: number | null
  /** JWKs to publish besides the keys. */
  extraJwks: object[]
  /** The SPIFFE bundle as it is now. */
  bundle(): Record<string, unknown>
  /**
   * Signs a JWT-SVID as a SPIRE agent hands it out: `sub`, `aud`, `iat`, `exp` after five minutes, no `iss`, no `jti`.
   *
   * @param path of the workload's SPIFFE ID, with its slash
   */
  svid(path: string, options: SvidOptions): string
  /** Replaces all keys by a new one. */
  rotate(alg?: TestAlg): TestKey
  /** Replaces the file at once, as a well-behaved writer does. */
  writeBundle(file: string): Promise<void>
  /** Serves the bundle, as it is at each request, on loopback. */
  serveBundle(): Promise<BundleEndpoint>
}

export interface SvidOptions {
  audience: string | string[]
  /** Milliseconds since the epoch; the real time unless given. */
  now?: number
  /** Replace or add to the claims; undefined takes one away. */
  claims?: Record<string, unknown>
  header?: Record<string, unknown>
  key?: TestKey
}

export interface BundleEndpoint {
  url: string
  fault: Fault | undefined
  requests: number
  close(): Promise<void>
}

/**
 * A SPIFFE trust domain: the authorities that sign SVIDs, and the bundle to check them with.
 *
 * @param options.now what its X.509 certificates are valid around, in milliseconds since the epoch
 */
export function createTrustDomain(
  name: string,
  { alg = 'ES256', now = Date.now() }: { alg?: TestAlg; now?: number } = {},
): TestTrustDomain {
  const self: TestTrustDomain = {
    name,
    keys: [generateKey(alg, { use: 'jwt-svid' })],
    x509: createX509TrustDomain(name, { now }),
    sequence: 1,
    refreshHint: 60,
    extraJwks: [],
    bundle: () => ({
      keys: [...self.keys.map(key => key.jwk), ...self.x509.jwks(), ...self.extraJwks],
      spiffe_sequence: self.sequence,
      ...(self.refreshHint === null ? {} : { spiffe_refresh_hint: self.refreshHint }),
    }),
    svid(path, { audience, now = Date.now(), claims, header, key = self.keys[0] }) {
      if (!key) throw new Error('the trust domain has no key')
      const iat = Math.floor(now / 1000)
      const payload = { sub: `spiffe://${name}${path}`, aud: audience, iat, exp: iat + 300, ...claims }
      return signJws(key, payload, header)
    },
    rotate(rotated = alg) {
      const key = generateKey(rotated, { use: 'jwt-svid' })
      self.keys = [key]
      self.sequence++
      return key
    },
    async writeBundle(file) {
      await writeFile(`${file}.new`, JSON.stringify(self.bundle()))
      await rename(`${file}.new`, file)
    },
    async serveBundle() {
      const server = createServer((_, res) => {
        endpoint.requests++
        answer(res, self.bundle(), endpoint.fault)
      })
      const endpoint: BundleEndpoint = {
        url: `${await listen(server)}/bundle`,
        fault: undefined,
        requests: 0,
        close: () => shut(server),
      }
      return endpoint
    },
  }
  return self
}
