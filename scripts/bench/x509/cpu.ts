import { randomUUID, sign, verify, type webcrypto } from 'node:crypto'
import { readPem } from '../../../src/der/pem.ts'
import { inside, readOne, wholeBits } from '../../../src/der/read.ts'
import { tags } from '../../../src/der/tags.ts'
import { newId } from '../../../src/ids.ts'
import { type CertificateFields, certificateMaker } from '../../../src/mint/x509/certificate.ts'
import { readCsr } from '../../../src/mint/x509/csr.ts'
import { type KeyPair, newAuthority, newKeyPair, urls } from '../../../test/support/certificates.ts'
import {
  libraryKey,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  taskCertificateByLibrary,
} from '../../../test/support/x509-library.ts'
import { type Figure, microsecondsEach } from '../report.ts'
import { median, ratios } from '../statistics.ts'

/**
 * From a CSR to a certificate, without HTTP, policy and storage, in turn with the two signature operations in it, as node:crypto does them
 * by themselves; and the same certificate by a library that does it all by schema. CPU of this process, all its threads counted.
 */
export async function cpu({ quick }: { quick: boolean }): Promise<Figure[]> {
  const { authority } = newAuthority()
  const signingKey = libraryKey(authority.privateKey)
  const make = certificateMaker(authority, urls)
  const requests = await Promise.all(Array.from({ length: 32 }, async () => newRequest(newKeyPair())))
  const each = inTurn(requests)

  const used = await inRounds(quick ? 4 : 24, {
    whole: [500, () => make(fieldsFor(readCsr(each().pem).spki))],
    signatures: [
      500,
      () => {
        const { signed, signature, publicKey, toBeSigned } = each()
        if (!verify('sha256', signed, publicKey, signature)) throw new Error('a CSR is not signed')
        sign('sha256', toBeSigned, authority.privateKey)
      },
    ],
    made: [500, () => make(fieldsFor(each().spki))],
    library: [20, () => taskCertificateByLibrary(authority, signingKey, urls, fieldsFor(each().spki))],
  })
  const cost = (name: keyof typeof used) => microsecondsEach(median(used[name]), 1)
  return [
    {
      what: 'From CSR to certificate, against its two signature operations',
      measured: `${cost('whole')} of CPU, ${cost('signatures')}`,
      ratio: ratios(used.whole, used.signatures),
      target: { most: 3 },
    },
    {
      what: 'The certificate alone, by @peculiar/x509 against ours',
      measured: `${cost('library')} of CPU, ${cost('made')}`,
      ratio: ratios(used.library, used.made),
    },
  ]
}

/** A CSR of a P-256 key as its usual writers make them, and what its signatures are made over. */
async function newRequest({ privateKey, publicKey }: KeyPair) {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys: webcrypto.CryptoKeyPair = {
    privateKey: libraryKey(privateKey),
    publicKey: publicKey.toCryptoKey(algorithm, true, ['verify']),
  }
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=runner-7.ci.example',
    keys,
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'runner-7.ci.example' }])],
  })
  const pem = request.toString('pem')
  const [block] = readPem(pem, 1)
  const parts = inside(readOne(block?.der ?? Buffer.alloc(0), tags.sequence))
  const signed = parts.take(tags.sequence).bytes
  parts.take(tags.sequence)
  return {
    pem,
    signed,
    signature: wholeBits(parts.take(tags.bitString)),
    publicKey,
    spki: Buffer.from(request.publicKey.rawData),
    // As long as what is signed of a certificate.
    toBeSigned: Buffer.alloc(750, randomUUID()),
  }
}

function fieldsFor(spki: Buffer): CertificateFields {
  const id = newId()
  const now = Date.now()
  return {
    serial: Buffer.from(newId().replaceAll('-', ''), 'hex'),
    notBefore: now - 30_000,
    notAfter: now + 300_000,
    spki,
    uri: `spiffe://hallpass.example/task/${id}`,
    dnsNames: [],
    clientAuth: true,
    serverAuth: false,
    task: { id, ver: 1, path: [], scopes: ['deploy:prod'], audience: ['https://api.example'] },
  }
}

function inTurn<T>(values: T[]): () => T {
  let turn = 0
  return () => values[turn++ % values.length] as T
}

/** How often in a round, and what. */
type Contender = [times: number, work: () => unknown]

/**
 * CPU seconds of one time, round by round. Turns are short and the order changes with each round: what disturbs the one disturbs the
 * other. The first two rounds warm up.
 */
async function inRounds<Name extends string>(
  rounds: number,
  contenders: Record<Name, Contender>,
): Promise<Record<Name, number[]>> {
  const entries = Object.entries(contenders) as [Name, Contender][]
  const used = Object.fromEntries(entries.map(([name]) => [name, [] as number[]])) as Record<Name, number[]>
  for (let round = -2; round < rounds; round++)
    for (const [name, [times, work]] of round % 2 === 0 ? entries : entries.toReversed()) {
      const before = process.cpuUsage()
      // What answers at once is not waited for: that would cost as much as some of it does.
      for (let n = 0; n < times; n++) {
        const done = work()
        if (done instanceof Promise) await done
      }
      const { user, system } = process.cpuUsage(before)
      if (round >= 0) used[name].push((user + system) / 1e6 / times)
    }
  return used
}
