import { isIP } from 'node:net'
import { z } from 'zod'
import { parseDuration } from '../duration.ts'
import { signingAlgs } from './signing-algs.ts'

/** A text of which `fault` finds nothing wrong. */
export const text = (fault: (value: string) => string | null = filledFault) =>
  z.string().check(payload => {
    const message = fault(payload.value)
    if (message !== null) payload.issues.push({ code: 'custom', message, input: payload.value })
  })

export const filledFault = (value: string): string | null =>
  /^[^\p{Cc}]+$/u.test(value) ? null : 'must be one line of text, and not empty'

/** Milliseconds. `0s` is a duration only where it means something. */
export const duration = ({ zero = false } = {}) =>
  z
    .string({ error: issue => (issue.input == null ? undefined : durationForm) })
    .transform((value, payload) => {
      const milliseconds = parseDuration(value)
      if (milliseconds !== null && (zero || milliseconds > 0)) return milliseconds
      payload.issues.push({ code: 'custom', message: durationForm, input: value })
      return z.NEVER
    })

const durationForm = 'must be a duration such as 90s, 5m, 8h or 90d'

export const port = () => z.int().min(0).max(65_535)

/** Requests a second. */
export const rate = () => z.number().positive().max(1_000_000)

/** Connections that follow the feed. */
export const readers = () => z.int().min(0).max(1_000_000)

export const signingAlg = () => z.enum(signingAlgs)

export const hostFault = (value: string): string | null =>
  isIP(value) !== 0 || /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i.test(value)
    ? null
    : 'must be an IP address or a host name'

/** One address, or a network in CIDR notation. */
export const networkFault = (value: string): string | null => {
  const [address = '', prefix, ...more] = value.split('/')
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  const sized = prefix === undefined || (/^(0|[1-9][0-9]{0,2})$/.test(prefix) && Number(prefix) <= bits)
  return bits > 0 && sized && more.length === 0 && !address.includes('%')
    ? null
    : 'must be an IP address or a network such as 10.0.0.0/8'
}

/** Names that would make a principal look like one of another kind: `spiffe:` + `//prod.example/x` (contract §2). */
const reservedNames = ['spiffe', 'hallpass', 'http', 'https', 'urn']

export const trustNameFault = (value: string): string | null => {
  if (reservedNames.includes(value)) return 'is a reserved name'
  return /^[a-z][a-z0-9-]*$/.test(value)
    ? null
    : 'must begin with a lower-case letter, and go on with lower-case letters, digits and hyphens'
}

/** SPIFFE-ID §2.1: at most 255 bytes; no scheme, port or capitals. */
export const trustDomainFault = (value: string): string | null =>
  /^[a-z0-9._-]{1,255}$/.test(value)
    ? null
    : 'must be a SPIFFE trust domain such as prod.example: lower-case letters, digits, dots, hyphens and underscores'

export const taskKindFault = (value: string): string | null =>
  /^[a-z][a-z0-9-]{0,63}$/.test(value)
    ? null
    : 'must begin with a lower-case letter, and have at most 64 lower-case letters, digits and hyphens'

/** `postgres://…`; a Unix socket's has no host, and names its folder in `host`. The text is never part of the fault: it holds a password. */
export const databaseUrlFault = (value: string): string | null =>
  /^postgres(ql)?:\/\//.test(value) && URL.canParse(value.replace(/^([a-z]+:\/\/[^/?#]*@)(?=\/)/, '$1socket'))
    ? null
    : 'must be a URL that begins with postgres://'
