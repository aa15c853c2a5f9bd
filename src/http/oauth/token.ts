import type { RequestHandler } from 'express'
import { HallpassError } from '../../errors.ts'
import { issueToken } from '../../mint/issue-token.ts'
import { newEvent, refusalsLogged } from '../../observe/record.ts'
import { addressOf } from '../address.ts'
import { formOf } from '../bodies.ts'
import type { HttpDeps } from '../deps.ts'
import { type Answer, open } from '../operation.ts'
import { present } from '../presented.ts'
import { tokenJson } from '../render.ts'
import { requestIdOf } from '../request-id.ts'
import { setRole } from './errors.ts'
import { attestationOf, audiencesOf, grantOf, scopesOf } from './grants.ts'

/** `POST /oauth2/token`: an attestation in, a task's token out. Three grants, one story. */
export function tokenEndpoint(deps: HttpDeps): RequestHandler {
  const read = deps.contract.form('issueToken')
  return open(async (request, response) => {
    const parameters = formOf(request)
    const grant = grantOf(parameters)
    setRole(response, grant.role)
    const form = read(parameters)
    const { token, expect } = attestationOf(form, grant)
    const audiences = audiencesOf(form)

    present(response, token)
    const principal = await deps.attestor.attest(token, { expect })
    await deps.limits.principal(principal.id)

    const asker = { principal, token: null, requestId: requestIdOf(response), address: addressOf(request) }
    const event = newEvent(asker, 'mint', deps.clock(), {})
    await refusalsLogged(event, deps.writeDecision, async () =>
      mustBeClient(principal.id, principal.trust, parameters.get('client_id')),
    )
    const issued = await issueToken(deps, asker, {
      scopes: scopesOf(form.scope),
      audiences,
      ttl: numberOr(form.ttl, null),
      taskId: form.task_id ?? null,
      taskVer: numberOr(form.task_ver, null),
      certificate: null,
    })
    return noStore(tokenJson(issued, grant))
  })
}

/** RFC 7521 §4.2: a `client_id` is unnecessary, and must name the assertion's subject if there is one. */
function mustBeClient(id: string, trust: string, clientId: string | null): void {
  if (clientId && clientId !== id && `${trust}:${clientId}` !== id)
    throw new HallpassError('attestation_invalid', 'The client_id is not who the attestation proves.')
}

const numberOr = <T>(text: string | undefined, otherwise: T): number | T =>
  text === undefined ? otherwise : Number(text)

const noStore = (body: unknown): Answer => ({ headers: { 'Cache-Control': 'no-store' }, body })
