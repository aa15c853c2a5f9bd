import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createEventParser, type ServerEvent } from '../../src/verifier/sse.ts'
import { frame } from './frames.ts'

function parsed(...chunks: (string | Uint8Array)[]): ServerEvent[] {
  const parser = createEventParser(10_000)
  return chunks.flatMap(chunk => parser.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk))
}

test('an event has a type, data and perhaps an id', () => {
  expect(parsed('id: a-1\nevent: task\ndata: {}\n\n')).toEqual([{ type: 'task', data: '{}', id: 'a-1' }])
  expect(parsed('data: x\n\n')).toEqual([{ type: 'message', data: 'x', id: undefined }])
})

test('an id is an event’s own: the next one does not have it', () => {
  const [one, two] = parsed('id: a-1\ndata: x\n\ndata: y\n\n')
  expect([one?.id, two?.id]).toEqual(['a-1', undefined])
})

test.each([
  ['data lines are joined', 'data: a\ndata:\ndata: b\n\n', ['a\n\nb']],
  ['only one space after the colon is taken away', 'data:  a\n\ndata:b\n\n', [' a', 'b']],
  ['a field without a colon is one without a value', 'data\n\n', ['']],
  ['comments and fields of other names are left out', ': keep open\n\nfoo: bar\ndata: a\n:x\n\n', ['a']],
  ['an event without data is none', 'event: task\nid: a-1\n\ndata: a\n\n', ['a']],
  ['what comes after the last empty line is no event yet', 'data: a\n\ndata: b\n', ['a']],
  ['lines end with LF, CR or CRLF', 'data: a\r\rdata: b\r\n\r\ndata: c\n\n', ['a', 'b', 'c']],
  ['a byte order mark is no part of the first line', '\uFEFFdata: a\n\n', ['a']],
])('%s', (_, stream, data) => {
  expect(parsed(stream).map(event => event.data)).toEqual(data)
})

test('an id with NUL in it is none', () => {
  expect(parsed('id: a\0b\ndata: x\n\n')[0]?.id).toBeUndefined()
})

test('`retry` is kept where it is a whole number', () => {
  const parser = createEventParser(1_000)
  expect(parser.retry()).toBeNull()
  parser.push(Buffer.from('retry: 700\n\n'))
  parser.push(Buffer.from('retry: soon\n\n'))
  expect(parser.retry()).toBe(700)
})

test('cut at every byte, inside characters and line ends too, it is the same stream', () => {
  const text =
    '\uFEFFretry: 5\r\n\r\n' +
    frame('task', { reason: 'größer 漢字 🗝' }, 'e-1') +
    'event: tick\r\ndata: a\r\ndata: b\r\n\r\n: c\rdata: d\r\r' +
    frame('key', { kid: '🗝' }, 'e-2')
  const bytes = Buffer.from(text)
  const whole = parsed(bytes)
  expect(whole.map(event => event.type)).toEqual(['task', 'tick', 'message', 'key'])
  for (let cut = 0; cut <= bytes.length; cut++)
    expect(parsed(bytes.subarray(0, cut), bytes.subarray(cut))).toEqual(whole)
  expect(parsed(...[...bytes].map(byte => Uint8Array.of(byte)))).toEqual(whole)
})

test('cut anywhere, however often, it is the same stream', () => {
  const line = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 12 }).map(text => text.replace(/[\r\n]/g, '')),
    fc.constantFrom('', 'data: x', 'data', 'event: task', 'id: e-1', ':'),
  )
  const stream = fc
    .array(fc.tuple(line, fc.constantFrom('\n', '\r', '\r\n')), { maxLength: 40 })
    .map(lines => Buffer.from(lines.flat().join('')))
  fc.assert(
    fc.property(stream, fc.array(fc.nat(400)), (bytes, cuts) => {
      const places = [0, ...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
      const chunks = places.slice(1).map((place, index) => bytes.subarray(places[index], place))
      expect(parsed(...chunks)).toEqual(parsed(bytes))
    }),
    { numRuns: 500 },
  )
})

test('an event that grows too large is an error, in one line or in many', () => {
  expect(() => parsed(`data: ${'x'.repeat(10_000)}`)).toThrow(RangeError)
  expect(() => parsed(...Array.from({ length: 2_000 }, () => 'data: x\n'))).toThrow(RangeError)
  expect(() => parsed(...Array.from({ length: 2_000 }, () => ': xxxx\n'))).toThrow(RangeError)
  // As long as each is small enough there may be any number.
  expect(parsed(...Array.from({ length: 2_000 }, () => 'data: x\n\n'))).toHaveLength(2_000)
})
