import { boolean, none, octetString, oid, sequence } from '../../der/write.ts'

/** Extension (RFC 5280 §4.1): `value` is DER. */
export const extension = (id: string, value: Uint8Array, { critical = false } = {}): Buffer =>
  sequence(oid(id), critical ? boolean(true) : none, octetString(value))
