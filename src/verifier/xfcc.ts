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
  const certs: string[] = []
  const hashes: string[] = []
  pair.lastIndex = 0
  let isWhole = false
  while (!isWhole) {
    const [text, key = '', quoted, bare = '', end] = pair.exec(value) ?? []
    if (text === undefined) throw new DerError('it is not one element')
    const name = key.toLowerCase()
    if (name === 'cert') certs.push(quoted ?? bare)
    if (name === 'hash') hashes.push(quoted ?? bare)
    isWhole = end === ''
  }
  const [[cert], [hash]] = [certs, hashes]
  if (cert === undefined || hash === undefined || certs.length > 1 || hashes.length > 1)
    throw new DerError('Cert and Hash must be there, and once')
  return { cert, hash }
}

/** Whether it is the SHA-256 of the certificate, in hexadecimal. */
export async function isHashOf(hash: string, der: Uint8Array): Promise<boolean> {
  const digest = await crypto.subtle.digest('SHA-256', der as Uint8Array<ArrayBuffer>)
  return hash.toLowerCase() === hexOf(new Uint8Array(digest))
}
