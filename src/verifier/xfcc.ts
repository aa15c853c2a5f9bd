import { DerError, hexOf } from './der.ts'

/** One pair of an element: what it is called, and its value, in quotation marks or without. Comma and semicolon end a bare one. */
const pair = /([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;]*))(;|$)/y

/**
 * The URL-encoded PEM of the client certificate in Envoy's `x-forwarded-client-cert`.
 *
 * There must be one element, of the one proxy that is trusted (`SANITIZE_SET`): of several nobody can tell who wrote which, since Envoy writes a
 * certificate's own names into it as they are, commas and semicolons included. For the same reason `Hash`, which comes before the names, must be
 * there once, and be the certificate's: what names smuggle in is a second one.
 *
 * @throws DerError
 */
export function readXfcc(value: string): { cert: string; hash: string } {
  const found = new Map<string, string[]>()
  pair.lastIndex = 0
  let isWhole = false
  while (!isWhole) {
    const [text, key = '', quoted, bare = '', end] = pair.exec(value) ?? []
    if (text === undefined) throw new DerError('it is not one element')
    const name = key.toLowerCase()
    found.set(name, [...(found.get(name) ?? []), quoted ?? bare])
    isWhole = end === ''
  }
  const [cert, ...certs] = found.get('cert') ?? []
  const [hash, ...hashes] = found.get('hash') ?? []
  if (cert === undefined || hash === undefined || certs.length > 0 || hashes.length > 0)
    throw new DerError('Cert and Hash must be there, and once')
  return { cert, hash }
}

/** Whether it is the SHA-256 of the certificate, in hexadecimal. */
export async function isHashOf(hash: string, der: Uint8Array): Promise<boolean> {
  const digest = await crypto.subtle.digest('SHA-256', der as Uint8Array<ArrayBuffer>)
  return hash.toLowerCase() === hexOf(new Uint8Array(digest))
}
