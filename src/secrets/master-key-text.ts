/** How long a master key is, in bytes. */
export const masterKeyLength = 32

/**
 * A master key from its one spelling: 32 bytes in padded base64 (RFC 4648 §4), 44 characters and nothing around them.
 * @returns null for anything else.
 */
export const parseMasterKey = (text: string): Buffer | null => {
  const key = Buffer.from(text, 'base64')
  return key.length === masterKeyLength && key.toString('base64') === text ? key : null
}
