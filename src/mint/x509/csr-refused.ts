import { HallpassError } from '../../errors.ts'

/** Why a CSR was refused, for the log. */
export type CsrFault =
  | 'too-large'
  | 'no-pem'
  | 'encoding'
  | 'version'
  | 'too-many-attributes'
  | 'too-many-extensions'
  | 'key-algorithm'
  | 'key-invalid'
  | 'key-size'
  | 'key-exponent'
  | 'key-weak'
  | 'signature-algorithm'
  | 'signature-invalid'

/** `malformed`, with a reason that holds nothing of what was sent; the fault is its cause's message. */
export const csrRefused = (fault: CsrFault, reason: string): HallpassError =>
  new HallpassError('malformed', `The CSR is refused: ${reason}.`, { cause: new Error(fault) })
