import type { Request, RequestHandler, Response, Router } from 'express'
import type { Hook } from '../config.ts'
import { HallpassError } from '../errors.ts'
import { type Ends, endByAuthority } from '../task/authority.ts'
import { type EndedName, nameOf } from '../task/ended-name.ts'
import { addressOf } from './address.ts'
import { bodyMost, bytesOf, readBody } from './bodies.ts'
import type { HttpDeps } from './deps.ts'
import type { Delivery } from './hooks/delivery.ts'
import { readGeneric } from './hooks/generic.ts'
import { readGithub } from './hooks/github.ts'
import { readGitlab } from './hooks/gitlab.ts'
import { readKubernetes } from './hooks/kubernetes.ts'
import { type JsonValue, payloadOf } from './hooks/payload.ts'
import { type Header, isAuthentic } from './hooks/signature.ts'
import type * as wire from './openapi.generated.d.ts'
import { open } from './operation.ts'
import { requestIdOf } from './request-id.ts'

/** What came of a delivery, as it is counted. */
type Result = 'ended' | 'remembered' | 'unchanged' | 'ignored' | 'malformed' | 'forged'

/** `POST /hooks/<name>`: authorities tell what is over, by deliveries that they sign. */
export function hookRoutes(deps: HttpDeps, router: Router): void {
  const hooks = new Map(deps.hooks.map(hook => [hook.name, hook]))
  const hookOf = ({ params }: Request): Hook => {
    const hook = hooks.get(String(params.name))
    if (!hook) throw new HallpassError('not_found', 'There is no such hook.')
    return hook
  }
  const known: RequestHandler = (request, _response, next) => {
    hookOf(request)
    next()
  }
  router.post(
    '/hooks/:name',
    known,
    readBody(bodyMost.other),
    open(async (request, response) => {
      response.set('Cache-Control', 'no-store')
      return { body: await receive(deps, hookOf(request), request, response) }
    }),
  )
}

async function receive(
  deps: HttpDeps,
  hook: Hook,
  request: Request,
  response: Response,
): Promise<wire.HookOutcome> {
  const count = (result: Result): void => deps.metrics.hookDeliveries.inc({ hook: hook.name, result })
  const body = bytesOf(request)
  const header: Header = name => request.get(name)
  // 1. Before a byte of it is parsed: is it the authority's?
  if (!isAuthentic(hook, body, header)) {
    count('forged')
    throw forged()
  }
  // 2. What is over, and what is it called here?
  const { delivery, names, ignored } = readFor(deps, hook, body, header, count)
  // 3. It ends, or its end is remembered.
  const report = {
    hook,
    event: delivery.event,
    delivery: delivery.id,
    requestId: requestIdOf(response),
    address: addressOf(request),
  }
  const ends = await endByAuthority(deps, report, names)
  count(resultOf(ends))
  return { ...ends, ...(names.length === 0 && { ignored }) }
}

interface Read {
  delivery: Delivery
  names: EndedName[]
  /** Why there are no names, where there are none. */
  ignored: string
}

function readFor(
  { trust }: HttpDeps,
  hook: Hook,
  body: Uint8Array,
  header: Header,
  count: (result: Result) => void,
): Read {
  try {
    const delivery = readerOf(hook)(payloadOf(body, header('Content-Type')), header)
    const source = trust.find(({ name }) => name === hook.trust)
    const require = source?.kind === 'oidc' ? source.require : {}
    const found = delivery.ends.map(ended => nameOf(hook, require, ended))
    const [why] = found.flatMap(name => ('ignored' in name ? [name.ignored] : []))
    return {
      delivery,
      names: found.filter((name): name is EndedName => !('ignored' in name)),
      ignored: why ?? 'It tells of nothing that has ended.',
    }
  } catch (error) {
    count('malformed')
    throw error
  }
}

function readerOf(hook: Hook): (payload: JsonValue, header: Header) => Delivery {
  const { state } = hook
  if (state) return payload => readGeneric(payload, state)
  return hook.kind === 'github' ? readGithub : hook.kind === 'gitlab' ? readGitlab : readKubernetes
}

const resultOf = ({ ended, remembered, unchanged }: Ends): Result =>
  ended > 0 ? 'ended' : remembered > 0 ? 'remembered' : unchanged > 0 ? 'unchanged' : 'ignored'

/** Counted and sampled as other proofs that prove nothing; the cause is the word that they are counted under. */
const forged = (): HallpassError =>
  new HallpassError('attestation_invalid', 'The delivery is not signed with the hook’s secret.', {
    cause: new Error('hook_forged'),
  })
