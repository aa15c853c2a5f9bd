import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { isSigningToken, signingKey } from '../../config/hook-secret.ts'
import type { Hook } from '../../config.ts'

/** A header of the delivery; undefined where it is not there. */
export type Header = (name: string) => string | undefined

/**
 * Whether the delivery comes from who knows the hook's secret. Looks at nothing but the bytes and their proof: what is not
 * authentic is not parsed.
 */
export function isAuthentic(
  hook: Pick<Hook, 'kind' | 'secret' | 'header'>,
  body: Uint8Array,
  header: Header,
): boolean {
  if (hook.kind !== 'gitlab') return isSigned(hook.secret, body, header(hook.header))
  return isSigningToken(hook.secret)
    ? isSignedAsStandard(hook.secret, body, header)
    : isSame(hook.secret, header('X-Gitlab-Token'))
}

/** HMAC-SHA256 of the body in hex, bare, or as GitHub (`sha256=`) and CircleCI (`v1=`) write it. */
function isSigned(secret: string, body: Uint8Array, given: string | undefined): boolean {
  const hex = /^(?:sha256=|v1=)?([0-9a-f]{64})$/i.exec(given ?? '')?.[1]
  if (hex === undefined) return false
  return timingSafeEqual(createHmac('sha256', secret).update(body).digest(), Buffer.from(hex, 'hex'))
}

/**
 * A signed delivery of GitLab's: Standard Webhooks, "Signature scheme". Any of several signatures will do, since a secret that is
 * replaced signs beside its successor. How old the delivery is does not matter: an end that is told again ends nothing more.
 */
function isSignedAsStandard(secret: string, body: Uint8Array, header: Header): boolean {
  const key = signingKey(secret)
  const id = header('webhook-id') ?? ''
  const timestamp = header('webhook-timestamp') ?? ''
  // Neither may hold a dot: it divides what is signed, and a part of the body could pass for the timestamp's end.
  if (!key || !/^[\w-]{1,256}$/.test(id) || !/^\d{1,15}$/.test(timestamp)) return false
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')
  return (header('webhook-signature') ?? '').split(' ').some(given => isSame(`v1,${expected}`, given))
}

/** Compares digests: the time that it takes tells nothing of where two texts differ, nor of how long one is. */
function isSame(secret: string, given: string | undefined): boolean {
  if (given === undefined) return false
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(secret), digest(given))
}
