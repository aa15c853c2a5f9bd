import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DerError, inside, readOne } from '../../../src/der/read.ts'
import { constructed, tags } from '../../../src/der/tags.ts'
import { element, integer, octetString, sequence, utf8String } from '../../../src/der/write.ts'
import { readTaskExtension, taskExtension } from '../../../src/mint/x509/task-extension.ts'
import { someTasks } from '../../support/certificate-arbitraries.ts'
import { taskValueByLibrary } from '../../support/x509-library.ts'

function extensionValue(extension: Buffer): Buffer {
  const parts = inside(readOne(extension, tags.sequence))
  parts.take(tags.oid)
  return parts.take(tags.octetString).content
}

describe('what a certificate says of its task', () => {
  it('is read as it was written, and written as the library does', () => {
    fc.assert(
      fc.property(someTasks, task => {
        const value = extensionValue(taskExtension(task))
        expect(readTaskExtension(value)).toEqual(task)
        expect(value.toString('hex')).toBe(Buffer.from(taskValueByLibrary(task)).toString('hex'))
      }),
    )
  })

  it('keeps a mark of byte order and a surrogate pair', () => {
    fc.assert(
      fc.property(someTasks, fc.constantFrom('\ufeffdeploy', '😀', ''), (task, scope) => {
        const odd = { ...task, scopes: [scope] }
        expect(readTaskExtension(extensionValue(taskExtension(odd)))).toEqual(odd)
      }),
      { numRuns: 20 },
    )
  })

  const id = octetString(Buffer.alloc(16, 7))
  const texts = sequence(utf8String('x'))
  const good = [integer(1), id, integer(1), sequence(sequence(id, integer(2))), texts, texts]
  const at = (place: number, ...parts: Buffer[]) => sequence(...good.toSpliced(place, 1, ...parts))

  it('is read where it is right', () => {
    expect(readTaskExtension(sequence(...good))).toEqual({
      id: '07070707-0707-0707-0707-070707070707',
      ver: 1,
      path: [{ id: '07070707-0707-0707-0707-070707070707', ver: 2 }],
      scopes: ['x'],
      audience: ['x'],
    })
  })

  const negative = element(tags.integer, Uint8Array.of(0xff))
  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['another version', at(0, integer(2))],
    ['no version', at(0)],
    ['an identifier that is too short', at(1, octetString(Buffer.alloc(15)))],
    ['an identifier that is too long', at(1, octetString(Buffer.alloc(17)))],
    ['a version of zero', at(2, integer(0))],
    ['a negative version', at(2, negative)],
    ['a version beyond all', at(2, integer(2 ** 31))],
    ['a version that is longer than it need be', at(2, element(tags.integer, Uint8Array.of(0, 1)))],
    ['a path that is a set', at(3, element(tags.set))],
    ['a task of the path that is a set', at(3, sequence(element(tags.set, id, integer(1))))],
    ['a task of the path without a version', at(3, sequence(sequence(id)))],
    ['a task of the path with a version of zero', at(3, sequence(sequence(id, integer(0))))],
    ['a task of the path with more to it', at(3, sequence(sequence(id, integer(1), id)))],
    ['a path without end', at(3, sequence(...Array.from({ length: 1_001 }, () => sequence(id, integer(1)))))],
    ['no scopes', at(4, sequence())],
    ['no audience', at(5, sequence())],
    ['no audience at all', at(5)],
    ['a scope that is no UTF8String', at(4, sequence(element(tags.ia5String, Buffer.from('x'))))],
    ['a scope that is not UTF-8', at(4, sequence(element(tags.utf8String, Uint8Array.of(0xc3))))],
    ['scopes without end', at(4, sequence(...Array.from({ length: 1_001 }, () => utf8String('x'))))],
    ['more than there should be', sequence(...good, integer(1))],
    ['bytes behind it', Buffer.concat([sequence(...good), Buffer.of(0)])],
    ['another tag', element(constructed(0), ...good)],
  ])('is refused with %s', (_, value) => {
    expect(() => readTaskExtension(value)).toThrow(DerError)
  })

  it('is refused, or read as what writes the same bytes, whatever the bytes', () => {
    const altered = fc.tuple(someTasks, fc.nat(), fc.nat(255)).map(([task, place, byte]) => {
      const value = Buffer.from(extensionValue(taskExtension(task)))
      value[place % value.length] = byte
      return value
    })
    fc.assert(
      fc.property(fc.oneof(altered, fc.uint8Array()), bytes => {
        try {
          expect(extensionValue(taskExtension(readTaskExtension(bytes))).equals(bytes)).toBe(true)
        } catch (error) {
          if (!(error instanceof DerError)) throw error
        }
      }),
      { numRuns: 2_000 },
    )
  })
})
