import { isIP } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Request } from 'express'

/**
 * The caller's address, as far as the configured proxies are trusted; an IPv4 address is told as one. Over TLS of our own nobody else wrote
 * the headers: a proxy passes the connection on as it is, and what it says of an address is the caller's own word.
 */
export function addressOf({ ip, socket }: Request): string | null {
  const address = (socket instanceof TLSSocket ? socket.remoteAddress : ip)
    ?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')
    .replace(/%.*$/, '')
  return address && isIP(address) ? address : null
}
