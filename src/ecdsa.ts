/**
 * The two spellings of an ECDSA signature: r and s side by side, as JWS has it (RFC 7518 §3.4), and ASN.1 DER, as OpenSSL does
 * (RFC 3279 §2.2.3). node:crypto converts too, when it is given its key inside an object: that costs as much as the signature.
 */

/** A DER signature that OpenSSL made, as r and s of `size` bytes each. */
export function sideBySide(der: Buffer, size: number): Buffer {
  const out = Buffer.alloc(2 * size)
  // SEQUENCE, its length in one byte (or, from P-521 on, two), then INTEGER r and INTEGER s.
  let at = der[1] === 0x81 ? 3 : 2
  for (const end of [size, 2 * size]) {
    const length = der[at + 1] as number
    const value = der.subarray(at + 2, at + 2 + length)
    const digits = value[0] === 0 ? value.subarray(1) : value
    digits.copy(out, end - digits.length)
    at += 2 + length
  }
  return out
}

/** Two integers of the same length, side by side, as DER. Says nothing of whether they are a signature. */
export function derOf(signature: Buffer): Buffer {
  const size = signature.length / 2
  const r = integer(signature.subarray(0, size))
  const s = integer(signature.subarray(size))
  const length = r.length + s.length
  return Buffer.concat([Buffer.from(length < 0x80 ? [0x30, length] : [0x30, 0x81, length]), r, s])
}

/** A positive INTEGER with no more bytes than it needs (X.690 §8.3.2). */
function integer(digits: Buffer): Buffer {
  let from = 0
  while (from < digits.length - 1 && digits[from] === 0) from += 1
  const value = digits.subarray(from)
  const pad = (value[0] as number) >= 0x80 ? [0] : []
  return Buffer.concat([Buffer.from([0x02, value.length + pad.length, ...pad]), value])
}
