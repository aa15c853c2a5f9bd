import type { Request, RequestHandler } from 'express'
import { HallpassError } from '../../errors.ts'
import { issueToken } from '../../mint/issue-token.ts'
import { newEvent, refusalsLogged } from '../../observe/record.ts'
import { commonOf, mustBeNoPage } from '../authenticate.ts'
import { formOf } from '../bodies.ts'
import { type Connection, connectionOf } from '../connection.ts'
import type { HttpDeps } from '../deps.ts'
import type { TokenRequest } from '../openapi.generated.d.ts'
import { type Answer, open } from '../operation.ts'
import { present } from '../presented.ts'
import { tokenJson } from '../render.ts'
import { setRole } from './errors.ts'
import { attestationOf, audiencesOf, type Grant, grantOf, isByCertificate, scopesOf } from './grants.ts'

/** `POST /oauth2/token`: an attestation in, a task's token out. Three grants, one story. */
export function tokenEndpoint(deps: HttpDeps): RequestHandler {
  const read = deps.contract.form('issueToken')
  return open(async (request, response) => {
    const parameters = formOf(request)
    const grant = grantOf(parameters)
    setRole(response, grant.role)
    const form = read(parameters)
    const proof = proofOf(form, grant, request)
    const audiences = audiencesOf(form)

    present(response, 'token' in proof ? proof.token : proof.certificate)
    const principal =
      'token' in proof
        ? await deps.attestor.attest(proof.token, { expect: proof.expect })
        : await deps.attestor.attestCertificate(proof.chain)
    await deps.limits.principal(principal.id)

    const asker = { ...commonOf(request, response), principal, token: null }
    const event = newEvent(asker, 'mint', deps.clock(), {})
    await refusalsLogged(event, deps.writeDecision, async () =>
      mustBeClient(principal.id, principal.trust, parameters.get('client_id')),
    )
    const issued = await issueToken(deps, asker, {
      scopes: scopesOf(form.scope),
      audiences,
      ttl: numberOr(form.ttl, null),
      binding: form.binding ?? null,
      taskId: form.task_id ?? null,
      taskVer: numberOr(form.task_ver, null),
      certificate: null,
    })
    return noStore(tokenJson(issued, grant))
  })
}

/**
 * What proves who asks: the attestation in the form, or for a client in its own name the certificate that its connection showed
 * (RFC 8705 §2.1). Throws `malformed`.
 */
function proofOf(
  form: TokenRequest,
  grant: Grant,
  request: Request,
): ReturnType<typeof attestationOf> | Connection {
  const connection = connectionOf(request)
  if (connection === null || !isByCertificate(form, grant)) return attestationOf(form, grant)
  // RFC 6749 §2.3: one proof in each request. A second one would go unchecked.
  if (request.get('Authorization') !== undefined)
    throw new HallpassError('malformed', 'Authorization has no place beside a client certificate.')
  mustBeNoPage(request)
  return connection
}

/** RFC 7521 §4.2 and RFC 8705 §2.1: a `client_id` is unnecessary, and must name the attestation's subject if there is one. */
function mustBeClient(id: string, trust: string, clientId: string | null): void {
  if (clientId && clientId !== id && `${trust}:${clientId}` !== id)
    throw new HallpassError('attestation_invalid', 'The client_id is not who the attestation proves.')
}

const numberOr = <T>(text: string | undefined, otherwise: T): number | T =>
  text === undefined ? otherwise : Number(text)

const noStore = (body: unknown): Answer => ({ headers: { 'Cache-Control': 'no-store' }, body })
