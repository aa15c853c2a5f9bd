import { expect } from 'vitest'
import { assembleVerifier, type Verifier } from '../../src/verifier/create-verifier.ts'
import type { VerifierEvent, VerifierOptions } from '../../src/verifier/options.ts'
import { type RefusalCode, VerifierRefusal } from '../../src/verifier/refusal.ts'
import { type ScriptedBroker, startScriptedBroker } from './scripted-broker.ts'
import { createWorldTime, type WorldTime } from './world-time.ts'

/** A verifier, the broker that it follows, and what it told of itself. */
export interface Followed {
  broker: ScriptedBroker
  verifier: Verifier
  time: WorldTime
  events: VerifierEvent[]
  close(): Promise<void>
}

/** `script` sets the broker up before the verifier comes. */
export async function startFollowed({
  script = () => {},
  time = createWorldTime(),
  ...options
}: Partial<VerifierOptions> & {
  script?: (broker: ScriptedBroker) => void | Promise<void>
  time?: WorldTime
} = {}): Promise<Followed> {
  const broker = await startScriptedBroker(time)
  await script(broker)
  const events: VerifierEvent[] = []
  const verifier = await assembleVerifier(
    { issuer: broker.issuer, audience: broker.audience, onEvent: event => events.push(event), ...options },
    time.clocks,
  )
  return {
    broker,
    verifier,
    time,
    events,
    async close() {
      verifier.close()
      await broker.close()
    },
  }
}

/** Why the token was refused; null where it was not. Anything but a refusal is thrown on. */
export const refusal = (
  verifier: Pick<Verifier, 'verify'>,
  token: string,
  options?: Parameters<Verifier['verify']>[1],
): Promise<RefusalCode | null> => codeOf(() => verifier.verify(token, options))

/** The same of a certificate. */
export const certificateRefusal = (
  verifier: Pick<Verifier, 'verifyCertificate'>,
  certificate: Parameters<Verifier['verifyCertificate']>[0],
  options?: Parameters<Verifier['verifyCertificate']>[1],
): Promise<RefusalCode | null> => codeOf(() => verifier.verifyCertificate(certificate, options))

async function codeOf(verified: () => Promise<unknown>): Promise<RefusalCode | null> {
  try {
    await verified()
    return null
  } catch (error) {
    if (error instanceof VerifierRefusal) return error.code
    throw error
  }
}

/** Waits until it is so; how long is no matter. */
export const until = (probe: () => unknown): Promise<void> =>
  expect.poll(async () => Boolean(await probe()), { timeout: 20_000, interval: 5 }).toBe(true)
