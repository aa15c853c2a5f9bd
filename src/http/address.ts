import { isIP } from 'node:net'
import type { Request } from 'express'

/** The caller's address, as far as the configured proxies are trusted; an IPv4 address is told as one. */
export function addressOf({ ip }: Request): string | null {
  const address = ip?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '')
  return address && isIP(address) ? address : null
}
