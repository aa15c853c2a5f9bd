import fc from 'fast-check'
import type { CertificateFields } from '../../src/mint/x509/certificate.ts'
import type { TaskFields } from '../../src/mint/x509/task-extension.ts'

const version = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 2 ** 31 - 1 }))
const ancestor = fc.record({ id: fc.uuid(), ver: version })
const texts = fc.array(fc.string({ unit: 'binary', minLength: 0, maxLength: 200 }), {
  minLength: 1,
  maxLength: 12,
})

export const someTasks: fc.Arbitrary<TaskFields> = fc.record({
  id: fc.uuid(),
  ver: version,
  path: fc.array(ancestor, { maxLength: 8 }),
  scopes: texts,
  audience: texts,
})

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/)
const names = fc.array(label, { minLength: 1, maxLength: 6 }).map(labels => labels.join('.'))
const segments = fc.array(fc.stringMatching(/^[A-Za-z0-9._-]{1,250}$/), { minLength: 1, maxLength: 8 })
/** Whole seconds from 1950 until 2199: a UTCTime until 2049, then a GeneralizedTime. */
const moments = fc
  .integer({ min: Date.UTC(1950, 0) / 1000, max: Date.UTC(2200, 0) / 1000 - 1 })
  .map(s => s * 1000)

/** Fields of certificates for one of these public keys. */
export const fieldsFor = (spkis: Buffer[]): fc.Arbitrary<CertificateFields> =>
  fc
    .record({
      serial: fc.uint8Array({ minLength: 16, maxLength: 16 }).filter(([first = 0]) => first > 0),
      notBefore: moments,
      notAfter: moments,
      spki: fc.constantFrom(...spkis),
      uri: fc.tuple(names, segments).map(([domain, path]) => `spiffe://${domain}/${path.join('/')}`),
      dnsNames: fc.array(names, { maxLength: 40 }),
      usages: fc.constantFrom([true, false], [false, true], [true, true]),
      task: someTasks,
    })
    .map(({ serial, usages: [clientAuth = true, serverAuth = true], ...fields }) => ({
      ...fields,
      serial: Buffer.from(serial),
      clientAuth,
      serverAuth,
    }))
