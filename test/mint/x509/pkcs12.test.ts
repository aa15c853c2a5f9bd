import { spawnSync } from 'node:child_process'
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import forge from 'node-forge'
import * as pkijs from 'pkijs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorityCertificate, rootCertificate } from '../../../src/mint/x509/authority-certificate.ts'
import { certificateMaker } from '../../../src/mint/x509/certificate.ts'
import { makePkcs12, mustBePassword, newLegacyKey } from '../../../src/mint/x509/pkcs12.ts'
import { macKey } from '../../../src/mint/x509/pkcs12-mac-key.ts'
import { signerOf } from '../../../src/mint/x509/signer-of.ts'
import { nodesOf, treeOf, written } from './der-tree.ts'

const isThere = (program: string): boolean =>
  spawnSync(program, ['-help'], { stdio: 'ignore' }).error === undefined

const password = 'correct horse 42'
const friendlyName = 'hallpass 0190a0a0-0000-7000-8000-000000000000'
const { authority, make } = anAuthority()
const key = await newLegacyKey()
const certificate = make(key.spki)
const file = await makePkcs12({
  privateKey: key.privateKey,
  certificate,
  chain: [authority],
  password,
  friendlyName,
})

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hallpass-pkcs12-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('a key for legacy software', () => {
  test('is RSA of 2048 bits, and another one each time', async () => {
    const other = await newLegacyKey()
    expect(key.key).toBe('RSA-2048')
    expect(key.privateKey.asymmetricKeyDetails).toEqual({ modulusLength: 2048, publicExponent: 65537n })
    expect(createPublicKey(key.privateKey).export({ type: 'spki', format: 'der' })).toEqual(key.spki)
    expect(other.spki).not.toEqual(key.spki)
  })
})

describe('a PKCS #12 file', () => {
  test('is DER throughout', () => {
    for (const bytes of [file, ...safesIn(file)]) {
      const tree = treeOf(bytes)
      expect(written(tree, null, () => Buffer.alloc(0))).toEqual(bytes)
      // No string in pieces.
      expect(nodesOf(tree).some(({ tag }) => tag === 0x24)).toBe(false)
    }
  })

  test('shows neither key nor certificates', () => {
    expect(file.includes(certificate.subarray(0, 32))).toBe(false)
    expect(file.includes(key.spki.subarray(-64))).toBe(false)
    expect(file.includes(password)).toBe(false)
    expect(file.includes(Buffer.from(password, 'utf16le').swap16())).toBe(false)
  })

  test('is another one each time: salts and initialisation vectors are never used twice', async () => {
    const again = await makePkcs12({
      privateKey: key.privateKey,
      certificate,
      chain: [authority],
      password,
      friendlyName,
    })
    const random = (bytes: Buffer) =>
      nodesOf(treeOf(bytes))
        .filter(({ tag, content }) => tag === 4 && content.length === 16)
        .map(({ content }) => content.toString('hex'))
    // The MAC's salt stands in the open; those of the two encryptions are inside the authenticated safe.
    const all = [...safesIn(file), ...safesIn(again)].flatMap(random)
    expect(all).toHaveLength(8)
    expect(new Set([...all, ...random(file), ...random(again)]).size).toBe(10)
  })

  test('leaves the event loop to others while the key of its MAC is derived', async () => {
    let turns = 0
    let isDone = false
    const count = () => {
      turns += 1
      if (!isDone) setImmediate(count)
    }
    setImmediate(count)
    await macKey(password, Buffer.alloc(16), 10_000)
    isDone = true
    expect(turns).toBeGreaterThanOrEqual(19)
  })
})

describe('it is opened by node-forge', () => {
  const open = (text: string) =>
    forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(forge.util.createBuffer(file.toString('latin1'))), text)
  const { pkcs8ShroudedKeyBag, certBag } = forge.pki.oids as Record<string, string>

  test('with its password: key and certificate are linked, and the chain is there', () => {
    const store = open(password)
    const [keyBag, ...otherKeys] =
      store.getBags({ bagType: pkcs8ShroudedKeyBag ?? '' })[pkcs8ShroudedKeyBag ?? ''] ?? []
    const certificates = store.getBags({ bagType: certBag ?? '' })[certBag ?? ''] ?? []
    expect(otherKeys).toEqual([])
    expect(keyBag?.key?.n.toString(16)).toBe(modulusOf(key.publicKey))
    expect(keyBag?.attributes).toEqual({ friendlyName: [friendlyName], localKeyId: [expect.any(String)] })
    expect(certificates).toHaveLength(2)
    expect(certificates[0]?.attributes).toEqual(keyBag?.attributes)
    expect(certificates[1]?.attributes).toEqual({})
    expect(store.getBags({ friendlyName }).friendlyName).toHaveLength(2)
  })

  test('and not with another', () => {
    for (const wrong of [`${password} `, '']) expect(() => open(wrong)).toThrow(/MAC could not be verified/)
  })
})

describe('it is opened by pkijs', () => {
  const open = async (text: string) => {
    const pfx = pkijs.PFX.fromBER(file)
    await pfx.parseInternalValues({ password: utf8(text), checkIntegrity: true })
    const safe = pfx.parsedValue?.authenticatedSafe
    await safe?.parseInternalValues({ safeContents: [{}, { password: utf8(text) }] })
    return safe?.parsedValue.safeContents as { value: pkijs.SafeContents }[]
  }

  test('with its password', async () => {
    const [keys, certificates] = await open(password)
    const bag = keys?.value.safeBags[0]?.bagValue as pkijs.PKCS8ShroudedKeyBag
    await (bag as unknown as { parseInternalValues(_: object): Promise<void> }).parseInternalValues({
      password: utf8(password),
    })
    const pkcs8 = bag.parsedValue?.toSchema().toBER(false) ?? new ArrayBuffer()
    expect(
      createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' }).equals(key.privateKey),
    ).toBe(true)
    expect(certificates?.value.safeBags).toHaveLength(2)
  })

  test('and not with another', async () => {
    await expect(open('wrong')).rejects.toThrow()
  })
})

describe.skipIf(!isThere('openssl'))('it is opened by openssl pkcs12 (skipped without openssl)', () => {
  const openssl = (bytes: Buffer, text: string, ...args: string[]) => {
    const path = join(folder, 'openssl.p12')
    writeFileSync(path, bytes)
    return spawnSync('openssl', ['pkcs12', '-in', path, '-passin', 'env:PKCS12_PASSWORD', ...args], {
      encoding: 'utf8',
      env: { ...process.env, PKCS12_PASSWORD: text },
    })
  }

  test('with its password: the key, its certificate and those above it', () => {
    const { status, stdout } = openssl(file, password, '-nodes')
    expect(status).toBe(0)
    expect(createPrivateKey(stdout).equals(key.privateKey)).toBe(true)
    const certificates = stdout.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    expect(certificates.map(pem => new X509Certificate(pem).raw)).toEqual([certificate, authority])
    expect(stdout.match(/friendlyName: .*/g)).toEqual([
      `friendlyName: ${friendlyName}`,
      `friendlyName: ${friendlyName}`,
    ])
    const ids = stdout.match(/localKeyID: .*/g) ?? []
    expect(ids).toHaveLength(2)
    expect(new Set(ids).size).toBe(1)
    const ofTheKey = openssl(file, password, '-nokeys', '-clcerts')
    expect(ofTheKey.stdout.match(/-----BEGIN CERTIFICATE-----/g)).toHaveLength(1)
  })

  test('which finds no other algorithms in it than those of today', () => {
    const { status, stderr } = openssl(file, password, '-info', '-noout')
    expect(status).toBe(0)
    expect(stderr.trim().split('\n')).toEqual([
      'MAC: sha256, Iteration 10000',
      expect.stringMatching(/^MAC length: 32, salt length: 16$/),
      'PKCS7 Data',
      'Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256',
      'PKCS7 Encrypted data: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256',
      'Certificate bag',
      'Certificate bag',
    ])
  })

  test('and not with another', () => {
    for (const wrong of [`${password} `, 'x', '']) {
      const { status, stderr } = openssl(file, wrong, '-noout')
      expect(status).not.toBe(0)
      expect(stderr).toMatch(/invalid password/)
    }
  })

  test.each([
    ['of other alphabets', 'pässwörd € пароль 合言葉'],
    ['of one character', 'x'],
    ['of 256', 'ñ'.repeat(256)],
    ['with a mark at its start that others take for a byte order', '\ufeffpassword'],
    ['of blanks', '  '],
  ])('with a password %s, and not with one like it', async (_, text) => {
    const bytes = await makePkcs12({
      privateKey: key.privateKey,
      certificate,
      chain: [],
      password: text,
      friendlyName,
    })
    expect(openssl(bytes, text, '-nodes').stdout).toContain('-----BEGIN PRIVATE KEY-----')
    expect(openssl(bytes, text.slice(1), '-noout').status).not.toBe(0)
  })

  test('whatever its key, and with no chain', async () => {
    for (const { privateKey, publicKey } of [
      generateKeyPairSync('ec', { namedCurve: 'P-256' }),
      generateKeyPairSync('ed25519'),
    ]) {
      const certificate = make(publicKey.export({ type: 'spki', format: 'der' }))
      const bytes = await makePkcs12({ privateKey, certificate, chain: [], password, friendlyName: 'Büro' })
      const { status, stdout } = openssl(bytes, password, '-nodes')
      expect(status).toBe(0)
      expect(createPrivateKey(stdout).equals(privateKey)).toBe(true)
      expect(stdout.match(/-----BEGIN CERTIFICATE-----/g)).toHaveLength(1)
    }
  })

  test('and is refused when a byte of it is another', () => {
    for (const at of [60, 400, file.length - 100, file.length - 30]) {
      const tampered = Buffer.from(file)
      tampered[at] = (tampered[at] as number) ^ 1
      expect(openssl(tampered, password, '-noout').status, `${at}`).not.toBe(0)
    }
  })
})

describe.skipIf(!isThere('keytool'))('it is opened by keytool (skipped without Java)', () => {
  const keytool = (...args: string[]) => spawnSync('keytool', args, { encoding: 'utf8' })

  test('with its password: it takes over the key, and lists the chain', () => {
    const path = join(folder, 'java.p12')
    const copy = join(folder, 'copy.p12')
    writeFileSync(path, file)
    const taken = keytool(
      ...['-importkeystore', '-noprompt', '-srckeystore', path, '-srcstorepass', password],
      ...['-destkeystore', copy, '-deststoretype', 'PKCS12', '-deststorepass', 'changeit'],
    )
    expect(taken.status, taken.stdout + taken.stderr).toBe(0)
    const { stdout } = keytool(
      '-list',
      '-rfc',
      '-keystore',
      copy,
      '-storepass',
      'changeit',
      '-alias',
      friendlyName,
    )
    expect(stdout).toContain('Entry type: PrivateKeyEntry')
    const certificates = stdout.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    expect(certificates.map(pem => new X509Certificate(pem).raw)).toEqual([certificate, authority])
  })

  test('and not with another', () => {
    const path = join(folder, 'java.p12')
    writeFileSync(path, file)
    const { status, stdout } = keytool('-list', '-keystore', path, '-storepass', 'another one')
    expect(status).not.toBe(0)
    expect(stdout).toMatch(/password was incorrect/)
  })
})

describe('a password', () => {
  test.each([
    ['empty', ''],
    ['longer than 256 characters', 'x'.repeat(257)],
    ['with a NUL, which would end it', 'before\0after'],
    ['with a line’s end', 'password\n'],
    ['with a tab', 'pass\tword'],
    ['with DEL', 'pass\x7fword'],
    ['with a C1 control', 'pass\x85word'],
    ['beyond the Basic Multilingual Plane', 'pass🔑word'],
    ['with half a pair', 'pass\ud83dword'],
    ['with what is no character', 'pass\uffffword'],
  ])('is refused when it is %s, and not shown', async (_, wrong) => {
    const refusal = expect.objectContaining({
      code: 'malformed',
      message:
        'The password must be 1 to 256 characters of the Basic Multilingual Plane, none of them a control character.',
    })
    expect(() => mustBePassword(wrong)).toThrow(refusal)
    await expect(
      makePkcs12({ privateKey: key.privateKey, certificate, chain: [], password: wrong, friendlyName }),
    ).rejects.toThrow(refusal)
  })
})

/** An issuing authority under a root, and what it issues. */
function anAuthority(): { authority: Buffer; make: (spki: Buffer) => Buffer } {
  const [root, issuer] = [1, 2].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  if (!root || !issuer) throw new Error('there are two')
  const now = Date.now()
  const common = {
    kid: 'kid',
    trustDomain: 'hallpass.test',
    notBefore: now - 60_000,
    notAfter: now + 3_600_000,
  }
  const rootDer = rootCertificate({ ...common, key: root })
  const authority = authorityCertificate({
    ...common,
    issuer: signerOf({ certificate: rootDer, privateKey: root.privateKey, kid: 'root' }),
    publicKey: issuer.publicKey,
    urls: { crl: 'http://127.0.0.1/pki/crl/root' },
  })
  const signer = signerOf({ certificate: authority, privateKey: issuer.privateKey, kid: 'kid' })
  const maker = certificateMaker(signer, {
    crl: 'http://127.0.0.1/pki/crl/kid',
    ocsp: 'http://127.0.0.1/pki/ocsp',
  })
  const id = '0190a0a0-0000-7000-8000-000000000000'
  const make = (spki: Buffer) =>
    maker({
      serial: Buffer.from(id.replaceAll('-', ''), 'hex'),
      notBefore: now - 30_000,
      notAfter: now + 300_000,
      spki,
      uri: `spiffe://hallpass.test/task/${id}`,
      dnsNames: [],
      clientAuth: true,
      serverAuth: false,
      task: { id, ver: 1, path: [], scopes: ['deploy'], audience: ['https://deploy.example'] },
    })
  return { authority, make }
}

const utf8 = (text: string): ArrayBuffer => {
  const bytes = new Uint8Array(Buffer.from(text, 'utf8'))
  return bytes.buffer
}

const modulusOf = (publicKey: KeyObject): string =>
  Buffer.from(publicKey.export({ format: 'jwk' }).n ?? '', 'base64url').toString('hex')

/** The two SafeContents as they stand in the file: one of the key, encrypted by itself, and one encrypted as a whole. */
function safesIn(bytes: Buffer): Buffer[] {
  const [, authSafe] = treeOf(bytes).children ?? []
  const content = nodesOf(authSafe ?? treeOf(bytes)).find(({ tag }) => tag === 4)?.content ?? Buffer.alloc(0)
  const [keys, certificates] = treeOf(content).children ?? []
  const keyBags = nodesOf(keys ?? treeOf(content)).find(({ tag }) => tag === 4)?.content ?? Buffer.alloc(0)
  return [keyBags, certificates ? written(certificates, null, () => Buffer.alloc(0)) : Buffer.alloc(0)]
}
