import { readFileSync } from 'node:fs'

const largest = 4096

/** The secret in a file, without the line end that editors put after it; or what is wrong with the file. */
export const readSecret = (path: string): { secret: string } | { fault: string } => {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    return { fault: `cannot be read (${(error as NodeJS.ErrnoException).code})` }
  }
  if (bytes.length > largest) return { fault: 'is too long for a secret' }
  const secret = bytes.toString('utf8').replace(/\r?\n$/, '')
  return /^[^\p{Cc}]+$/u.test(secret) ? { secret } : { fault: 'must hold one line of text, and nothing else' }
}

/** GitLab's signing tokens are keys in base64 (Standard Webhooks, "Signature scheme"); its secret tokens are any text. */
export const isSigningToken = (secret: string): boolean => secret.startsWith('whsec_')

/** The key of a signing token; null where what follows `whsec_` is no canonical base64 of at least 16 bytes. */
export const signingKey = (token: string): Buffer | null => {
  const text = token.slice('whsec_'.length)
  const key = Buffer.from(text, 'base64')
  return key.length >= 16 && key.toString('base64') === text ? key : null
}
