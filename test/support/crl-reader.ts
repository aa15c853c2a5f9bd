import { Certificate, CertificateRevocationList } from 'pkijs'

/** A CRL as somebody else's library reads it. */
export interface ReadCrl {
  /** As it is written: 1 is version 2. */
  version: number
  thisUpdate: number
  nextUpdate: number
  /** Serial numbers in hexadecimal digits; `reason` is 0 where none is given. */
  entries: { serial: string; at: number; reason: number; extensions: number }[]
  extensions: { id: string; critical: boolean }[]
  /** Of an extension that is an INTEGER. Throws where there is none. */
  number(id: string): bigint
  verify(issuer: Buffer): Promise<boolean>
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

export function readCrl(der: Buffer): ReadCrl {
  const crl = CertificateRevocationList.fromBER(der)
  const extensions = crl.crlExtensions?.extensions ?? []
  return {
    version: crl.version,
    thisUpdate: crl.thisUpdate.value.getTime(),
    nextUpdate: crl.nextUpdate?.value.getTime() ?? Number.NaN,
    entries: (crl.revokedCertificates ?? []).map(
      ({ userCertificate, revocationDate, crlEntryExtensions }) => {
        const own = crlEntryExtensions?.extensions ?? []
        const reason = own.find(({ extnID }) => extnID === '2.5.29.21')
        return {
          serial: hex(userCertificate.valueBlock.valueHexView),
          at: revocationDate.value.getTime(),
          // An ENUMERATED of one octet.
          reason: reason ? (reason.extnValue.valueBlock.valueHexView[2] as number) : 0,
          extensions: own.length,
        }
      },
    ),
    extensions: extensions.map(({ extnID, critical }) => ({ id: extnID, critical })),
    number(id) {
      const value = extensions.find(({ extnID }) => extnID === id)?.extnValue.valueBlock.valueHexView
      if (!value) throw new Error(`there is no ${id}`)
      return BigInt(`0x${hex(value.subarray(2))}`)
    },
    verify: issuer => crl.verify({ issuerCertificate: Certificate.fromBER(issuer) }),
  }
}
