/** Arithmetic for tests: slow, and as the textbooks have it. */

export function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  let square = base % modulus
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % modulus
    square = (square * square) % modulus
  }
  return result
}

export function squareRoot(n: bigint): bigint {
  let low = 0n
  let high = 1n << BigInt(n.toString(2).length)
  while (high - low > 1n) {
    const middle = (low + high) >> 1n
    if (middle * middle <= n) low = middle
    else high = middle
  }
  return low
}

export function firstPrimes(count: number): bigint[] {
  const found: bigint[] = []
  for (let n = 2n; found.length < count; n++) if (found.every(prime => n % prime !== 0n)) found.push(n)
  return found
}

/** The first point of y² = x³ - 3x + b, by x, modulo a prime that is 3 modulo 4. */
export function firstPoint(p: bigint, b: bigint): { x: bigint; y: bigint } {
  for (let x = 0n; ; x++) {
    const square = (x ** 3n - 3n * x + b + 3n * p) % p
    const y = power(square, (p + 1n) / 4n, p)
    if ((y * y) % p === square) return { x, y }
  }
}

export const edwardsPrime = 2n ** 255n - 19n
const p = edwardsPrime
const inverse = (n: bigint) => power(n, p - 2n, p)
const d = (p - 121665n) * inverse(121666n)

interface Point {
  x: bigint
  y: bigint
}

/** RFC 8032 §5.1.4. */
function sum(a: Point, b: Point): Point {
  const both = (((d * a.x * b.x) % p) * ((a.y * b.y) % p)) % p
  return {
    x: ((a.x * b.y + b.x * a.y) * inverse(1n + both)) % p,
    y: ((a.y * b.y + a.x * b.x) * inverse(1n + p - both)) % p,
  }
}

function times(n: bigint, point: Point): Point {
  let result: Point = { x: 0n, y: 1n }
  let double = point
  for (let rest = n; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = sum(result, double)
    double = sum(double, double)
  }
  return result
}

/** The eight points of edwards25519 whose order divides 8: multiples of what is left of a point when its part of prime order is gone. */
export function smallOrderPoints(): Point[] {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  for (let y = 2n; ; y++) {
    // RFC 8032 §5.1.3: x² = (y² - 1) / (d y² + 1).
    const square = ((y * y - 1n) * inverse((d * y * y + 1n) % p)) % p
    const candidate = power(square, (p + 3n) / 8n, p)
    const x = [candidate, (candidate * power(2n, (p - 1n) / 4n, p)) % p].find(x => (x * x) % p === square)
    if (x === undefined) continue
    const left = times(order, { x, y })
    const points = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n].map(n => times(n, left))
    if (new Set(points.map(point => `${point.x},${point.y}`)).size === 8) return points
  }
}
