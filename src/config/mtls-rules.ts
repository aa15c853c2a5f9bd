import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import type { Report } from './fault.ts'
import { at, textAt } from './raw.ts'
import { filledFault } from './values.ts'

/** What is wrong with the listener for mutual TLS: its port, and the certificate that it shows. */
export const checkMtls = (
  raw: unknown,
  { base, port, hasCa, report }: { base: string; port: unknown; hasCa: boolean; report: Report },
): void => {
  const mtls = at(raw, 'listen', 'mtls')
  if (typeof mtls !== 'object' || mtls === null) return
  const own = at(mtls, 'port')
  if (own !== 0 && own === port) report('listen.mtls.port', 'is the port of the broker itself')
  if (own !== 0 && own !== undefined && own === at(raw, 'listen', 'metrics_port'))
    report('listen.mtls.port', 'is that of listen.metrics_port')
  checkFiles(mtls, { base, hasCa, report })
}

const checkFiles = (
  mtls: object,
  { base, hasCa, report }: { base: string; hasCa: boolean; report: Report },
): void => {
  const given = { cert: at(mtls, 'cert') !== undefined, key: at(mtls, 'key') !== undefined }
  if (!given.cert && !given.key) {
    if (!hasCa)
      report('listen.mtls.cert', 'is missing: without pki.trust_domain the broker issues none itself')
    return
  }
  for (const [key, other] of [
    ['cert', 'key'],
    ['key', 'cert'],
  ] as const)
    if (!given[key]) report(`listen.mtls.${key}`, `is missing where ${other} is given`)

  const certificate = readFileAt(mtls, 'cert', base, report, text => new X509Certificate(text))
  const key = readFileAt(mtls, 'key', base, report, createPrivateKey)
  if (certificate === null || key === null) return
  if (!certificate.value.checkPrivateKey(key.value))
    report('listen.mtls.key', 'is not the key of the certificate in listen.mtls.cert')
  else if (!isAccepted(certificate.text, key.value))
    report('listen.mtls.cert', 'is nothing that TLS can use: too weak, or followed by what is no certificate')
}

const readFileAt = <Value>(
  mtls: object,
  key: 'cert' | 'key',
  base: string,
  report: Report,
  parse: (text: string) => Value,
): { text: string; value: Value } | null => {
  const named = textAt(mtls, key)
  if (named === null || filledFault(named) !== null) return null
  try {
    const text = readFileSync(resolve(base, named), 'utf8')
    return { text, value: parse(text) }
  } catch (error) {
    const { code = '', syscall } = error as NodeJS.ErrnoException
    const form = key === 'cert' ? 'a certificate in PEM' : 'a private key in PEM without a password'
    report(`listen.mtls.${key}`, syscall === undefined ? `is not ${form}` : `cannot be read (${code})`)
    return null
  }
}

const isAccepted = (cert: string, key: KeyObject): boolean => {
  try {
    createSecureContext({ cert, key: key.export({ format: 'pem', type: 'pkcs8' }), minVersion: 'TLSv1.3' })
    return true
  } catch {
    return false
  }
}
