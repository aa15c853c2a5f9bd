import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { inside, readOne } from '../../../src/der/read.ts'
import { tags } from '../../../src/der/tags.ts'
import {
  authorityCertificate,
  responderCertificate,
  serverCertificate,
} from '../../../src/mint/x509/authority-certificate.ts'
import { certificateMaker } from '../../../src/mint/x509/certificate.ts'
import { keyIdOf, spkiOf } from '../../../src/mint/x509/key-id.ts'
import { signerOf } from '../../../src/mint/x509/signer-of.ts'
import { newAuthority, newKeyPair, someFields, urls } from '../../support/certificates.ts'
import { isThere, judged } from '../../support/judges.ts'

type Chain = ReturnType<typeof newAuthority>

let mine: Chain
let another: Chain

beforeAll(() => {
  mine = newAuthority()
  another = newAuthority()
})

function subjectOf(certificate: Buffer): Buffer {
  const fields = inside(inside(readOne(certificate, tags.sequence)).take(tags.sequence))
  for (let place = 0; place < 5; place++) fields.any()
  return fields.any().bytes
}

const soon = () => ({ notBefore: Date.now() - 30_000, notAfter: Date.now() + 300_000 })
const chainOf = ({ root, authority }: Chain, leaf: Buffer) => ({
  root: root.certificate,
  between: [authority.certificate],
  leaf,
})
const taskChain = (change: Parameters<typeof someFields>[0] = {}) =>
  chainOf(mine, certificateMaker(mine.authority, urls)(someFields(change)))
const otherRoot = () => ({ ...taskChain(), root: another.root.certificate })
const expired = () => taskChain({ notBefore: Date.now() - 600_000, notAfter: Date.now() - 300_000 })
/** By what the authority certified, with a key of its own, as if it were an authority too. */
function below(certify: (key: Parameters<typeof responderCertificate>[0]) => Buffer) {
  const { privateKey, publicKey } = newKeyPair()
  const certificate = certify({ issuer: mine.authority, publicKey, ...soon() })
  const pretender = {
    ...mine.authority,
    privateKey,
    certificate,
    keyId: keyIdOf(publicKey),
    name: subjectOf(certificate),
  }
  return {
    root: mine.root.certificate,
    between: [certificate, mine.authority.certificate],
    leaf: certificateMaker(pretender, urls)(someFields()),
  }
}
const belowResponder = () => below(responderCertificate)
const belowAuthority = () =>
  below(fields => authorityCertificate({ ...fields, kid: 'kFurther', trustDomain: 'hallpass.example', urls }))

const keys = {
  'P-256': () => newKeyPair().publicKey,
  'P-384': () => newKeyPair('P-384').publicKey,
  Ed25519: () => generateKeyPairSync('ed25519').publicKey,
  'RSA 2048': () => generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey,
}

describe.skipIf(!isThere('openssl', 'version'))(
  'openssl verify -x509_strict (where OpenSSL is installed)',
  () => {
    it.each(Object.entries(keys))('accepts a certificate of a task for a key of %s', (_, publicKey) => {
      judged(
        taskChain({ spki: spkiOf(publicKey()), serverAuth: true, dnsNames: ['a.example'] }),
        ({ openssl }) => {
          expect(openssl('-purpose', 'sslclient')).toBeNull()
          expect(openssl('-purpose', 'sslserver', '-verify_hostname', 'a.example')).toBeNull()
          expect(openssl('-purpose', 'sslserver', '-verify_hostname', 'b.example')).toMatch(
            /hostname mismatch/i,
          )
        },
      )
    })

    it('refuses it for a purpose that was not asked for', () => {
      judged(taskChain(), ({ openssl }) => expect(openssl('-purpose', 'sslserver')).toMatch(/purpose/))
      judged(taskChain({ clientAuth: false, serverAuth: true }), ({ openssl }) =>
        expect(openssl('-purpose', 'sslclient')).toMatch(/purpose/),
      )
    })

    it('refuses it under another root, after its end, and below what is no authority or one too many', () => {
      judged(otherRoot(), ({ openssl }) => expect(openssl()).toMatch(/unable to get|signature/))
      judged(expired(), ({ openssl }) => expect(openssl()).toMatch(/expired/))
      judged(belowResponder(), ({ openssl }) => expect(openssl()).toMatch(/invalid CA/))
      judged(belowAuthority(), ({ openssl }) => expect(openssl()).toMatch(/path length/))
    })

    it('accepts the certificates of a responder and of the broker itself', () => {
      const { authority } = mine
      const leaf = { issuer: authority, publicKey: newKeyPair().publicKey, ...soon() }
      judged(chainOf(mine, responderCertificate(leaf)), ({ openssl }) => {
        expect(openssl('-purpose', 'ocsphelper')).toBeNull()
        expect(openssl('-purpose', 'sslclient')).toMatch(/purpose/)
      })
      const names = { dns: ['hallpass.example', 'localhost'], ip: ['127.0.0.1', '::1', '2001:db8::1:0:0'] }
      judged(chainOf(mine, serverCertificate({ ...leaf, names, urls })), ({ openssl }) => {
        for (const name of names.dns)
          expect(openssl('-purpose', 'sslserver', '-verify_hostname', name)).toBeNull()
        for (const ip of names.ip) expect(openssl('-purpose', 'sslserver', '-verify_ip', ip)).toBeNull()
        expect(openssl('-purpose', 'sslserver', '-verify_ip', '127.0.0.2')).toMatch(/IP address mismatch/)
        expect(openssl('-purpose', 'sslclient')).toMatch(/purpose/)
      })
    })

    it('shows it as it was made', () => {
      const text = judged(taskChain({ dnsNames: ['a.example'] }), judge => judge.text())
      for (const line of [
        'Version: 3 (0x2)',
        '01:99:aa:bb:cc:dd:7e:ee:8f:ff:00:11:22:33:44:55',
        'Signature Algorithm: ecdsa-with-SHA256',
        'Issuer: O = Hallpass, CN = hallpass.example authority kIssuer-',
        'Subject: \n',
        'X509v3 Key Usage: critical\n                Digital Signature\n',
        'X509v3 Basic Constraints: critical\n                CA:FALSE',
        'TLS Web Client Authentication\n',
        'X509v3 Subject Alternative Name: critical\n                URI:spiffe://hallpass.example/task/0199aabb-0000-7eee-8fff-001122334455, DNS:a.example\n',
        `URI:${urls.crl}`,
        `OCSP - URI:${urls.ocsp}`,
        '1.3.6.1.4.1.32473.4201.1: ',
      ])
        expect(text).toContain(line)
    })
  },
)

describe.skipIf(!isThere('certtool'))('certtool --verify (where GnuTLS is installed)', () => {
  it.each(Object.entries(keys))('accepts a certificate of a task for a key of %s', (_, publicKey) => {
    const change = { spki: spkiOf(publicKey()), serial: Buffer.concat([Buffer.of(1), randomBytes(15)]) }
    judged(taskChain(change), ({ gnutls }) => expect(gnutls()).toBeNull())
  })

  it('refuses it under another root, after its end, and below what is no authority or one too many', () => {
    for (const chain of [otherRoot(), expired(), belowResponder(), belowAuthority()])
      judged(chain, ({ gnutls }) => expect(gnutls()).toMatch(/NOT trusted/))
  })

  it('accepts the certificates of a responder and of the broker itself', () => {
    const leaf = { issuer: mine.authority, publicKey: newKeyPair().publicKey, ...soon() }
    const names = { dns: ['hallpass.example'], ip: ['::1'] }
    judged(chainOf(mine, responderCertificate(leaf)), ({ gnutls }) => expect(gnutls()).toBeNull())
    judged(chainOf(mine, serverCertificate({ ...leaf, names, urls })), ({ gnutls }) =>
      expect(gnutls()).toBeNull(),
    )
  })
})

it('an authority signs as its certificate names it, whoever reads it', () => {
  const { authority } = mine
  expect(signerOf(authority)).toEqual(authority)
})
