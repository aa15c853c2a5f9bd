/** Below 752, as NIST SP 800-89 §5.3.3 has it. */
const primes = primesBelow(752)
const product = primes.reduce((all, prime) => all * BigInt(prime), 1n)

/** Powers of 65537 modulo each prime up to 167. */
const powers = primes
  .filter(prime => prime > 2 && prime <= 167)
  .map(prime => {
    const set = new Set<number>()
    for (let power = 1; !set.has(power); power = (power * 65537) % prime) set.add(power)
    return { prime, set }
  })

/** Whether an RSA modulus is one of those whose factors are found in no time. */
export function isWeakModulus(modulus: bigint): boolean {
  const rest = modulus % product
  const modulo = (prime: number) => Number(rest % BigInt(prime))
  const hasSmallFactor = primes.some(prime => modulo(prime) === 0)
  /**
   * CVE-2017-15361 (ROCA): primes of Infineon's library are powers of 65537 modulo every small prime, and their products are too. Nothing
   * else is, but by a chance of 2^-150.
   */
  const isInfineons = powers.every(({ prime, set }) => set.has(modulo(prime)))
  return hasSmallFactor || isInfineons || hasCloseFactors(modulus)
}

/** Fermat's method, which finds two factors near each other (CVE-2022-26320): is one of the next squares a square away? */
function hasCloseFactors(modulus: bigint): boolean {
  let root = squareRoot(modulus)
  if (root * root < modulus) root += 1n
  let rest = root * root - modulus
  for (let round = 0; round < 100; round++) {
    if (isSquare(rest)) return true
    rest += 2n * root + 1n
    root += 1n
  }
  return false
}

/** Of numbers that are no squares, 99 of 100 are none modulo 64 or modulo 9·5·7·11·13. */
const sieves = [64, 45045].map(modulus => {
  const squares = new Set(Array.from({ length: modulus }, (_, n) => (n * n) % modulus))
  return { modulus: BigInt(modulus), squares }
})

function isSquare(n: bigint): boolean {
  if (!sieves.every(({ modulus, squares }) => squares.has(Number(n % modulus)))) return false
  return squareRoot(n) ** 2n === n
}

/** The largest integer whose square is not larger, by Newton's method from above. */
function squareRoot(n: bigint): bigint {
  if (n < 2n) return n
  let root = 1n << BigInt((n.toString(16).length + 1) * 2)
  for (;;) {
    const next = (root + n / root) >> 1n
    if (next >= root) return root
    root = next
  }
}

function primesBelow(end: number): number[] {
  const found: number[] = []
  for (let n = 2; n < end; n++) if (found.every(prime => n % prime !== 0)) found.push(n)
  return found
}
