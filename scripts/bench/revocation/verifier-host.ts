import type { Auth, Verifier } from '../../../src/verifier/index.ts'
import { moment, work } from '../work.ts'
import { type Following, followerOf } from './follower.ts'

// A process with some verifiers, each with its own connection to the feed, as if each were a service's. They hold a token at a time, as
// one does while it serves a request.

export type VerifierTasks = { open: typeof open; hold: typeof hold; learned: typeof learned }
work({ open, hold, learned })

interface Held {
  token: string
  auths: Auth[]
  /** When each began to refuse; NaN while it does not. */
  refusedAt: Float64Array
  /** What was asked of one of them the moment that it began to refuse. */
  asked: Promise<void> | null
}

const verifiers: Verifier[] = []
let held: Held | null = null
let turn = 0
/** The first that was wrong, anywhere. */
let fault: string | null = null

/** Milliseconds that a verifier may take to learn of an end. */
const most = 5_000

async function open({ count, ...following }: Following & { count: number }): Promise<void> {
  const onEvent: Following['onEvent'] = ({ type }) => {
    if (type === 'disconnected' || type === 'stale') fault ??= `a verifier was ${type}`
  }
  for (let n = 0; n < count; n++) verifiers.push(await followerOf({ ...following, onEvent }))
}

/** Each of them takes the token, and watches it. */
async function hold(token: string): Promise<void> {
  const auths = await Promise.all(verifiers.map(verifier => verifier.verify(token)))
  const refusedAt = new Float64Array(auths.length).fill(Number.NaN)
  const mine: Held = { token, auths, refusedAt, asked: null }
  const first = turn++ % auths.length
  for (const [n, { signal }] of auths.entries())
    signal.addEventListener('abort', () => {
      // What `verify` goes by is in memory already: the signal fires because of it, in the same turn of the event loop.
      refusedAt[n] = moment()
      if (n === first) mine.asked = mustRefuse(verifiers[n] as Verifier, token)
    })
  held = mine
}

/** When each of them began to refuse the token that is held (`moment`). Throws where one did not, or takes it all the same. */
async function learned(): Promise<Float64Array> {
  if (!held) throw new Error('nothing is held')
  const { token, auths, refusedAt, asked } = held
  for (const end = moment() + most; refusedAt.some(Number.isNaN) && moment() < end; )
    await new Promise(resolve => setTimeout(resolve, 10))
  if (refusedAt.some(Number.isNaN)) throw new Error('a verifier did not learn of an end')
  await asked
  await Promise.all(verifiers.map(verifier => mustRefuse(verifier, token)))
  for (const auth of auths) auth.release()
  if (fault !== null) throw new Error(fault)
  held = null
  return refusedAt
}

async function mustRefuse(verifier: Verifier, token: string): Promise<void> {
  const code = await verifier.verify(token).then(
    () => 'nothing',
    (refusal: { code?: string }) => refusal.code,
  )
  if (code !== 'task_closed') fault ??= `a verifier refused for ${code}`
}
