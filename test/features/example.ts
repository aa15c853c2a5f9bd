import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type LoadedConfig, loadConfig } from '../../src/config.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'

export type Claims = Record<string, unknown>

/** One folder of examples/, as its reader gets it. */
export interface Example {
  dir: string
  config: LoadedConfig
  claims: Claims & { iat: number }
  readme: string
}

export function loadExample(name: string): Example {
  const dir = join(import.meta.dirname, '../../examples', name)
  const read = (file: string) => readFileSync(join(dir, file), 'utf8')
  return {
    dir,
    config: loadConfig({ env: { HALLPASS_CONFIG: join(dir, 'hallpass.yaml') }, cwd: dir }),
    claims: JSON.parse(read('claims.json')),
    readme: read('README.md'),
  }
}

export interface RunningExample extends Example {
  broker: TestBroker
  issuer: TestIssuer
  /** Signs the example's claims, as fresh as an issuer would, with these in place of its own; undefined takes one away. */
  attest(more?: Claims): string
  close(): Promise<void>
}

/** A broker with the example's configuration and policies, but for the issuer, which is one that can be reached. */
export async function startExample(name: string): Promise<RunningExample> {
  const example = loadExample(name)
  const issuer = await startIssuer({ alg: 'RS256' })
  const { trust, policy, credentials, tasks, clockSkew, hooks, issuer: own } = example.config
  const broker = await startTestBroker({
    trust: trust.map(source => ('issuer' in source ? { ...source, issuer: issuer.issuer } : source)),
    config: { issuer: own, policy, credentials, tasks, clockSkew, hooks },
  })
  return {
    ...example,
    broker,
    issuer,
    attest: more => issuer.sign(fresh(example.claims, { iss: issuer.issuer, ...more })),
    async close() {
      await broker.close()
      await issuer.close()
    },
  }
}

/** The same claims issued just now: times moved, and another `jti` where there is one. */
export function fresh({ iat, ...claims }: Example['claims'], more: Claims = {}): Claims {
  const moved = Math.floor(Date.now() / 1000) - iat
  const times = ['exp', 'nbf', 'auth_time'].flatMap(name =>
    typeof claims[name] === 'number' ? [[name, claims[name] + moved]] : [],
  )
  return {
    ...claims,
    ...Object.fromEntries(times),
    iat: iat + moved,
    ...(claims.jti !== undefined && { jti: randomUUID() }),
    ...more,
  }
}

/** The form of the README's call to this endpoint, without the attestation, for which its variable or file stands. */
export function formOfReadme(readme: string): Record<string, string> {
  const block = readme.split('```').find(text => text.includes('/oauth2/token')) ?? ''
  const call = block.slice(block.indexOf('/oauth2/token'))
  const form = [...call.matchAll(/(?:-d|--data-urlencode) ([a-z_]+)[=@](\S+)/g)].map(([, name, value]) => [
    name,
    value,
  ])
  return Object.fromEntries(form)
}
