import type { HallpassError } from '../errors.ts'

/** RFC 6750 §3: without a token no error code is told. */
export const challenge = ({ code }: HallpassError): string =>
  `Bearer realm="hallpass"${code === 'attestation_missing' ? '' : ', error="invalid_token"'}`
