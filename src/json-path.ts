import { isJsonObject, type JsonValue, numberText } from './strict-json.ts'

/** What is at a path of members joined by dots; undefined where there is nothing, never what JavaScript's objects inherit. */
export const at = (value: JsonValue | undefined, path: string): JsonValue | undefined =>
  path
    .split('.')
    .reduce<JsonValue | undefined>(
      (above, name) => (isJsonObject(above) && Object.hasOwn(above, name) ? above[name] : undefined),
      value,
    )

/** The same as a text, as an attestation's claim becomes one (contract §2); null for what is no scalar, or empty. */
export function textAt(value: JsonValue | undefined, path: string): string | null {
  const found = at(value, path)
  if (typeof found === 'string') return found === '' ? null : found
  return typeof found === 'boolean' ? String(found) : numberText(found)
}
