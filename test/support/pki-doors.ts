import type { AddressInfo } from 'node:net'
import express from 'express'
import pino from 'pino'
import type { Clock } from '../../src/clock.ts'
import { HallpassError } from '../../src/errors.ts'
import { pkiListRoutes } from '../../src/http/pki-lists.ts'
import { errorHandler } from '../../src/http/problems.ts'
import { nameRequest } from '../../src/http/request-id.ts'
import type { Authorities } from '../../src/revoke/x509/authorities.ts'
import { crls } from '../../src/revoke/x509/crl.ts'
import { followCertificates } from '../../src/revoke/x509/follow.ts'
import { ocspResponses } from '../../src/revoke/x509/ocsp.ts'
import type { Database } from '../../src/store/database.ts'
import { testUrls } from './x509-authority.ts'

/** The doors of CRLs and OCSP over real HTTP, without the rest of the broker. */
export interface PkiDoors {
  url: string
  /** What was refused, and told to be counted and sampled. */
  refused: HallpassError[]
  close(): Promise<void>
}

export async function openPkiDoors({
  db,
  clock,
  authorities,
}: {
  db: Pick<Database, 'query'>
  clock: Clock
  authorities: Authorities
}): Promise<PkiDoors> {
  const log = pino({ level: 'silent' })
  const refused: HallpassError[] = []
  const unproven = (error: HallpassError) => void refused.push(error)
  const router = express.Router({ caseSensitive: true, strict: true })
  pkiListRoutes(
    {
      // As openapi.yaml says of them: no parameters.
      contract: {
        query: () => parameters => {
          if (parameters.size > 0) throw new HallpassError('malformed', 'There are no such parameters.')
          return {} as never
        },
      },
      clock,
      log,
      unproven,
      crl: crls({ record: followCertificates({ db, clock }), authorities, urls: testUrls }),
      ocsp: ocspResponses({ db, clock, authorities }),
    },
    router,
  )
  const app = express()
  app.set('etag', false)
  app.use(nameRequest, router)
  app.use(() => {
    throw new HallpassError('not_found', 'There is nothing here.')
  })
  app.use(errorHandler({ log, unproven }))
  const server = app.listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    refused,
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
