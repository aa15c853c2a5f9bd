import { closeSync, openSync, readSync } from 'node:fs'
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { pathText, type Report } from './fault.ts'

const largestFile = 1024 * 1024
const mostFaults = 20

/** The file's text; null when it is not there. Anything else that keeps it from being read is reported. */
export const readText = (file: string, report: Report): string | null | undefined => {
  try {
    const fd = openSync(file, 'r')
    try {
      const buffer = Buffer.alloc(largestFile + 1)
      let length = 0
      for (let read = -1; read !== 0 && length < buffer.length; length += read) {
        read = readSync(fd, buffer, length, buffer.length - length, null)
      }
      if (length <= largestFile) {
        return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length))
      }
      report(file, 'is larger than 1 MiB')
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') return null
    report(file, code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8' : `cannot be read (${code})`)
  }
  return undefined
}

/**
 * The document as plain values, `{}` for an empty one; undefined when it is not YAML. Faults name a place and a code, never
 * the text found there: a line of this file can hold a password.
 */
export const parseYaml = (text: string, report: Report): unknown => {
  const lines = new LineCounter()
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `line ${line}, column ${col}`
  }
  const document = parseDocument(text, {
    lineCounter: lines,
    logLevel: 'error',
    prettyErrors: false,
    resolveKnownTags: false,
    schema: 'core',
    stringKeys: true,
    // Found below instead, with their path.
    uniqueKeys: false,
  })
  const broken = [...document.errors, ...document.warnings]
  for (const error of broken.slice(0, mostFaults))
    report(place(error.pos[0]), `is not YAML that is read here (${error.code})`)
  if (broken.length > 0) return undefined

  reportKeys(document.contents, [], report)
  try {
    // At most so many aliases, aliases within aliases multiplied: a few lines must not grow into gigabytes.
    return document.toJS({ maxAliasCount: 100 }) ?? {}
  } catch {
    report('aliases', 'are too many, or name an anchor that is not there')
    return undefined
  }
}

/** Keys that appear twice, of which YAML libraries keep the last, and `__proto__`, which JavaScript would keep to itself. */
const reportKeys = (node: unknown, path: PropertyKey[], report: Report): void => {
  if (isSeq(node))
    for (const [index, item] of node.items.entries()) reportKeys(item, [...path, index], report)
  if (!isMap(node)) return
  const seen = new Set<string>()
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : ''
    const here = [...path, name]
    if (seen.has(name)) report(pathText(here), 'is given twice')
    if (name === '__proto__') report(pathText(here), 'is not a key')
    seen.add(name)
    reportKeys(value, here, report)
  }
}
