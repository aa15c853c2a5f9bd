/** The value at a path of keys, or undefined: never what JavaScript's objects inherit. */
export const at = (raw: unknown, ...path: string[]): unknown =>
  path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, key)
        ? (value as Record<string, unknown>)[key]
        : undefined,
    raw,
  )

/** The same, where it is a text. */
export const textAt = (raw: unknown, ...path: string[]): string | null => {
  const value = at(raw, ...path)
  return typeof value === 'string' ? value : null
}
