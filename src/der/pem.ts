import { DerError } from './read.ts'

/** One block of text between its lines (RFC 7468 §2), and its DER. */
export interface Pem {
  label: string
  der: Buffer
}

const block =
  /^-----BEGIN ([A-Z0-9][A-Z0-9 ]*[A-Z0-9])-----[ \t]*\r?\n((?:[A-Za-z0-9+/=]+[ \t]*\r?\n)+)-----END \1-----[ \t]*$/

/**
 * Reads PEM (RFC 7468, strict but for the lengths of lines and blanks at their ends): blocks and the blank lines between them, and nothing
 * else. Base64 must be canonical. Throws DerError for anything else, and for more than `most` blocks.
 */
export function readPem(text: string, most: number): Pem[] {
  const parts = text.split(/^(?=-----BEGIN )/m).filter(part => part.trim() !== '')
  if (parts.length === 0) throw new DerError('there is no PEM')
  if (parts.length > most) throw new DerError('there is more PEM than there should be')
  return parts.map(part => {
    const [, label = '', body = ''] = block.exec(part.trim()) ?? []
    const base64 = body.replace(/[ \t\r\n]/g, '')
    const der = Buffer.from(base64, 'base64')
    if (label === '' || der.length === 0 || der.toString('base64') !== base64)
      throw new DerError('the PEM cannot be read')
    return { label, der }
  })
}

/** PEM in lines of 64 characters, with a line's end after the last (RFC 7468 §2). */
export function writePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('base64')
  let text = `-----BEGIN ${label}-----\n`
  // By a pattern it takes three times as long.
  for (let at = 0; at < base64.length; at += 64) text += `${base64.slice(at, at + 64)}\n`
  return `${text}-----END ${label}-----\n`
}
