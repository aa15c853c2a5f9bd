import { inside, readOne } from '../../der/read.ts'
import { constructed, tags } from '../../der/tags.ts'
import type { CertificateSigner } from '../../mint/x509/signer.ts'
import { batched } from '../../store/batch.ts'
import { isUnavailable } from '../../store/failure.ts'
import type { Authorities } from './authorities.ts'
import { encodeCrl } from './crl-der.ts'
import { crlNumbers, firstNumberAt } from './crl-number.ts'
import { type Entry, entryWriter } from './entry.ts'
import type { CertificateReading, CertificateRecord } from './follow.ts'
import { crlReasons } from './reasons.ts'
import { skewMost } from './status.ts'

/** A CRL, ready to be sent. */
export interface Crl {
  der: Buffer
  /** Strong (RFC 9110 §8.8.3): of these very bytes. */
  entityTag: string
  /** Seconds since the epoch. */
  thisUpdate: number
  nextUpdate: number
}

/** Of an authority or a root: all that it signed and is not good, or what of that changed lately. */
export interface CrlAsked {
  /** null: of the authority that signs now. */
  kid: string | null
  kind: 'complete' | 'delta'
}

export interface CrlDeps {
  record: CertificateRecord
  authorities: Authorities
  /** Where the CRL of an authority is. */
  urls: { crl(kid: string): string }
}

/** Seconds that a client may keep a CRL for: what `Cache-Control` says. */
export const crlMaxAge = 5
/** How long a CRL may be relied upon at all, and no complete one that may still be is older than what deltas begin with. Milliseconds. */
const life = 5 * 60_000
/** How long a CRL is served again where nothing in it has changed. Microseconds. */
const reuse = 1_000_000n
/**
 * What is said to have changed so long before a delta begins is in it all the same: replicas' clocks differ, and a change is there only
 * once it was committed. Milliseconds.
 */
const slack = skewMost + 60_000

type Named = CrlAsked & { kid: string }

interface Withdrawn {
  signer: CertificateSigner
  /** Milliseconds since the epoch. */
  at: number
}

interface Made {
  version: number | string
  at: bigint
  crl: Crl
}

/**
 * CRLs as the record is now; null where nobody has that `kid`, and for the delta of a root: there is none. Throws `unavailable`: a CRL that
 * may be old is none. However many ask at once, each is made once, and one at a time.
 */
export function crls({ record, authorities, urls }: CrlDeps): (asked: CrlAsked) => Promise<Crl | null> {
  const numberOf = crlNumbers()
  const made = new Map<string, Made>()

  async function answerAll(asked: Named[]): Promise<(Crl | null)[]> {
    const reading = await record.read()
    const answers: (Crl | null)[] = []
    for (const one of asked) answers.push(await answer(one, reading))
    return answers
  }

  const authorityOf = (kid: string) => authorities.list().find(one => one.kid === kid)
  const rootOf = (kid: string) => authorities.roots.published().find(one => one.kid === kid)

  async function answer({ kid, kind }: Named, reading: CertificateReading): Promise<Crl | null> {
    const name = `${kind}:${kid}`
    const authority = authorityOf(kid)
    if (authority) {
      const { signer } = authority
      const { version, entries, complete: all } = reading.of(kid)
      return again(name, version, reading.at, () =>
        kind === 'complete'
          ? complete(signer, all(), reading.at)
          : delta(signer, entries.values(), reading.at),
      )
    }
    const root = rootOf(kid)
    if (root?.signer && kind === 'complete') {
      const { signer } = root
      const withdrawn = withdrawnBelow(root.kid, reading)
      const version = withdrawn.map(one => `${one.signer.kid} ${one.at}`).join()
      return again(name, version, reading.at, () =>
        make(signer, reading.at, { entries: authorityEntries(withdrawn) }),
      )
    }
    made.delete(name)
    return null
  }

  async function again(
    name: string,
    version: Made['version'],
    at: bigint,
    make: () => Promise<Crl>,
  ): Promise<Crl> {
    const last = made.get(name)
    const age = last ? at - last.at : reuse
    if (last?.version === version && -reuse < age && age < reuse) return last.crl
    const crl = await make()
    made.set(name, { version, at, crl })
    return crl
  }

  const complete = (signer: CertificateSigner, entries: Iterable<Buffer>, at: bigint): Promise<Crl> =>
    make(signer, at, {
      entries,
      freshest: `${urls.crl(signer.kid)}/delta`,
    })

  /** RFC 5280 §5.2.4: to be read with any complete CRL that has not run out, however long ago the client got it. */
  function delta(signer: CertificateSigner, entries: Iterable<Entry>, at: bigint): Promise<Crl> {
    const now = Number(at / 1000n)
    const from = Math.floor(now / life) * life - life
    return make(signer, at, {
      entries: dersOf(entries, ({ changedAt }) => changedAt >= from - slack),
      base: firstNumberAt(BigInt(from) * 1000n),
    })
  }

  /** Another replica may have withdrawn one a moment ago: then the record has it already. */
  function withdrawnBelow(rootKid: string, reading: CertificateReading): Withdrawn[] {
    return authorities.list().flatMap(({ kid, signer, rootKid: own, withdrawnAt }) => {
      const at = withdrawnAt?.getTime() ?? reading.of(kid).withdrawnAt
      return own === rootKid && at !== null ? [{ signer, at }] : []
    })
  }

  async function make(
    signer: CertificateSigner,
    at: bigint,
    {
      entries,
      base = null,
      freshest = null,
    }: { entries: Iterable<Buffer>; base?: bigint | null; freshest?: string | null },
  ): Promise<Crl> {
    const thisUpdate = Number(at / 1000n)
    const number = numberOf(at)
    const nextUpdate = thisUpdate + life
    const der = await encodeCrl({ signer, thisUpdate, nextUpdate, number, entries, base, freshest })
    return {
      der,
      entityTag: number.toString(36),
      thisUpdate: Math.floor(thisUpdate / 1000),
      nextUpdate: Math.floor(nextUpdate / 1000),
    }
  }

  // Whoever asks shares a reading that began after it asked.
  const answered = batched(answerAll, { most: 1_000, isShared: isUnavailable })
  return async ({ kid: asked, kind }) => {
    const kid = asked ?? authorities.active().kid
    // Whoever guesses has nothing read for it.
    return authorityOf(kid) || rootOf(kid) ? answered({ kid, kind }) : null
  }
}

function* dersOf(entries: Iterable<Entry>, isIn: (entry: Entry) => boolean): Iterable<Buffer> {
  for (const entry of entries) if (isIn(entry)) yield entry.der
}

/** An authority is withdrawn because its key may be somebody else's. */
function authorityEntries(withdrawn: Withdrawn[]): Buffer[] {
  const write = entryWriter()
  return withdrawn.map(({ signer, at }) => write(serialIn(signer.certificate), at, crlReasons.caCompromise))
}

/** The content of a certificate's serial number. */
function serialIn(certificate: Buffer): Buffer {
  const fields = inside(inside(readOne(certificate, tags.sequence)).take(tags.sequence))
  fields.take(constructed(0))
  return fields.take(tags.integer).content
}
