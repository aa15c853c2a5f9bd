const prime = 2n ** 255n - 19n
/** The y of the four points of order 8 whose y is the smaller one; the other is its negative. */
const yOfOrder8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n
/** y of the eight points of small order: the neutral one, and those of order 2, 4 and 8. */
const smallOrder = new Set([1n, prime - 1n, 0n, yOfOrder8, prime - yOfOrder8])

/**
 * Whether 32 bytes may be an Ed25519 key: y in its one spelling (RFC 8032 §5.1.3), and no point of small order: for such a key there are
 * signatures that verify and that anybody can make. Whether there is an x to that y shows when a signature is verified.
 */
export function isGoodPoint(bytes: Buffer): boolean {
  if (bytes.length !== 32) return false
  const y = BigInt.asUintN(255, BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`))
  return y < prime && !smallOrder.has(y)
}
