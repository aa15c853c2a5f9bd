import type { Config, SigningAlg } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { NewCredential } from '../store/reservation.ts'
import type { Task } from '../store/task-record.ts'
import type { Wanted } from '../task/for-mint.ts'
import type { Ask, Grant } from './ask.ts'
import { issue, type MintDeps } from './issue.ts'
import { signAccessToken } from './jwt.ts'
import type { Keyring } from './keyring.ts'
import type { SigningKey } from './signing-key.ts'
import { type StatusIndexes, statusListUri } from './status-index.ts'

export interface TokenDeps extends MintDeps {
  keyring: Keyring
  /** Gives each token its place in a status list. */
  statusIndexes: StatusIndexes
}

export interface IssuedToken {
  accessToken: string
  jti: string
  /** Seconds. */
  expiresIn: number
  scope: string
  taskId: string
}

/** Mints an access token (RFC 9068). Throws the codes of contract §4's table. */
export function issueToken(deps: TokenDeps, asker: Asker, ask: Ask & Wanted): Promise<IssuedToken> {
  const { credentials, keyring, statusIndexes } = deps
  return issue<SigningKey, IssuedToken>(deps, asker, ask, {
    type: 'jwt',
    asked: {},
    check() {
      algFor(credentials, ask.audiences)
      return {}
    },
    signer: () => keyring.signer(algFor(credentials, ask.audiences)),
    place: ({ kid }, expiresAt) => statusIndexes.take(kid, expiresAt),
    reload: () => keyring.reload(),
    sign: (task, credential, key, grant) => sign(deps, task, credential, key, grant),
  })
}

/** One token has one signature. Throws `invalid_target` where the audiences need different algorithms. */
function algFor({ signingAlg, signingAlgFor }: Config['credentials'], audiences: string[]): SigningAlg {
  const algs = new Set(
    audiences.map(
      audience =>
        (Object.hasOwn(signingAlgFor, audience) ? signingAlgFor[audience] : undefined) ?? signingAlg,
    ),
  )
  const [alg] = algs
  if (algs.size !== 1 || !alg)
    throw new HallpassError('invalid_target', 'These audiences need tokens signed with different algorithms.')
  return alg
}

async function sign(
  { issuer }: TokenDeps,
  task: Task,
  credential: NewCredential,
  key: SigningKey,
  { cnf }: Grant,
): Promise<IssuedToken> {
  const { jti, scope, audience, status } = credential
  const iat = credential.issuedAt.getTime() / 1000
  const exp = credential.expiresAt.getTime() / 1000
  const accessToken = await signAccessToken(key, {
    iss: issuer,
    sub: task.subject,
    client_id: task.principal,
    aud: audience.length === 1 ? (audience[0] as string) : audience,
    iat,
    exp,
    jti,
    scope,
    task_id: task.id,
    task_ver: task.ver,
    ...(task.ancestors.length > 0 && { task_path: task.ancestors.map(({ id, ver }) => `${id}:${ver}`) }),
    ...(cnf && { cnf }),
    ...(status && { status: { status_list: { idx: status.idx, uri: statusListUri(issuer, status.list) } } }),
  })
  return { accessToken, jti, expiresIn: exp - iat, scope, taskId: task.id }
}
