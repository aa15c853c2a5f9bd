import { constants, createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type ServerOptions } from 'node:https'
import type { Logger } from 'pino'
import { HallpassError } from '../errors.ts'
import { keepClient } from './connection.ts'
import { type Door, serverDoor } from './listen.ts'

/** A certificate with its intermediates, and its key: PEM. */
export interface ServerCertificate {
  cert: string
  key: string
}

/** How often it is asked whether there is a new certificate. Milliseconds. */
const renewal = 10_000
/** How long a handshake may take. Milliseconds. */
const handshakeTimeout = 10_000

/**
 * The listener for mutual TLS. It asks each client for a certificate and judges none: who it proves is for the attestor to say, by its trust
 * domain's bundle (SPIFFE X509-SVID §5) and for every request anew.
 *
 * `certificate` is what the broker shows, asked for now and every ten seconds. Throws what it throws now, but waits for one that is
 * `unavailable`: until there is one, every handshake fails. Later faults are logged, and the certificate before goes on.
 */
export async function listenForMtls({
  host,
  port,
  certificate,
  log,
}: {
  host: string
  port: number
  certificate: () => ServerCertificate
  log: Logger
}): Promise<Door & { renew: () => void }> {
  let shown = nowOrLater(certificate, log)
  const server = createServer({ ...optionsFor(shown), handshakeTimeout })
  server.on('secureConnection', keepClient)

  function renew(): void {
    try {
      const next = certificate()
      if (next.cert === shown?.cert && next.key === shown.key) return
      server.setSecureContext(optionsFor(next))
      shown = next
      log.info({ sha256: digestOf(next.cert) }, 'the listener for mutual TLS shows a new certificate')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      log.warn({ code }, 'the new certificate for mutual TLS cannot be used: the one before goes on')
    }
  }
  const door = await serverDoor(server, host, port)
  const timer = setInterval(renew, renewal).unref()
  return {
    ...door,
    renew,
    close() {
      clearInterval(timer)
      return door.close()
    },
  }
}

function nowOrLater(certificate: () => ServerCertificate, log: Logger): ServerCertificate | null {
  try {
    return certificate()
  } catch (error) {
    if (!(error instanceof HallpassError && error.code === 'unavailable')) throw error
    log.warn('there is no certificate for mutual TLS yet')
    return null
  }
}

/** The certificate in two files, as they are when it is asked for. */
export const certificateInFiles =
  ({ cert, key }: ServerCertificate): (() => ServerCertificate) =>
  () => ({ cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') })

const optionsFor = (shown: ServerCertificate | null): ServerOptions => ({
  ...shown,
  minVersion: 'TLSv1.3',
  requestCert: true,
  // Every certificate gets in, and is nobody until it was checked.
  rejectUnauthorized: false,
  // An empty list, for without one it would be the system's.
  ca: [],
  // A session that is resumed shows no certificate. Without tickets OpenSSL would look for it in a store, and there is none.
  secureOptions: constants.SSL_OP_NO_TICKET,
})

const digestOf = (cert: string): string => createHash('sha256').update(cert).digest('hex')
