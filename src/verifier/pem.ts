import { DerError } from './der.ts'

const block =
  /^-----BEGIN CERTIFICATE-----[ \t]*\r?\n((?:[A-Za-z0-9+/=]+[ \t]*\r?\n)+)-----END CERTIFICATE-----[ \t]*$/

/**
 * Certificates in PEM (RFC 7468, strict but for the lengths of lines and blanks at their ends): blocks and the blank lines between them, and
 * nothing else. Base64 must be canonical.
 *
 * @throws DerError for anything else, and for more than `most` blocks
 */
export function readPem(text: string, most: number): Uint8Array[] {
  const parts = text.split(/^(?=-----BEGIN )/m).filter(part => part.trim() !== '')
  if (parts.length === 0 || parts.length > most) throw new DerError('there is no PEM, or too much')
  return parts.map(part => {
    const base64 = (block.exec(part.trim())?.[1] ?? '').replace(/[ \t\r\n]/g, '')
    return bytesOf(base64)
  })
}

/**
 * @throws DerError for base64 that is empty or not in its one canonical spelling (RFC 4648 §3.5)
 */
export function bytesOf(base64: string): Uint8Array {
  let binary = ''
  try {
    binary = atob(base64)
  } catch {
    // Told below.
  }
  if (binary === '' || btoa(binary) !== base64) throw new DerError('base64 cannot be read')
  return Uint8Array.from(binary, character => character.charCodeAt(0))
}
