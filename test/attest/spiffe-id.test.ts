import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isTrustDomain, parseSpiffeId } from '../../src/attest/spiffe-id.ts'

describe('the SPIFFE ID parser', () => {
  it.each([
    ['spiffe://prod.example/ci/deployer', 'prod.example', '/ci/deployer'],
    ['spiffe://a/b', 'a', '/b'],
    ['spiffe://prod_1-x.example/A.b_c-9', 'prod_1-x.example', '/A.b_c-9'],
    ['spiffe://prod.example/...', 'prod.example', '/...'],
    ['spiffe://10.0.0.1/x', '10.0.0.1', '/x'],
  ])('reads %s', (text, trustDomain, path) => {
    expect(parseSpiffeId(text)).toEqual({ trustDomain, path })
  })

  it.each([
    ['no path', 'spiffe://prod.example'],
    ['an empty path', 'spiffe://prod.example/'],
    ['a trailing slash', 'spiffe://prod.example/ci/'],
    ['an empty segment', 'spiffe://prod.example/ci//deployer'],
    ['a dot segment', 'spiffe://prod.example/./ci'],
    ['a dot-dot segment', 'spiffe://prod.example/ci/../admin'],
    ['no trust domain', 'spiffe:///ci'],
    ['another scheme', 'https://prod.example/ci'],
    ['a scheme in capitals', 'SPIFFE://prod.example/ci'],
    ['a trust domain in capitals', 'spiffe://Prod.example/ci'],
    ['a port', 'spiffe://prod.example:443/ci'],
    ['a user', 'spiffe://me@prod.example/ci'],
    ['a query', 'spiffe://prod.example/ci?x=1'],
    ['an empty query', 'spiffe://prod.example/ci?'],
    ['a fragment', 'spiffe://prod.example/ci#x'],
    ['percent-encoding in the path', 'spiffe://prod.example/c%69'],
    ['percent-encoding in the trust domain', 'spiffe://prod%2eexample/ci'],
    ['a letter beyond ASCII', 'spiffe://prod.example/cí'],
    ['a trust domain beyond ASCII', 'spiffe://pröd.example/ci'],
    ['a space', 'spiffe://prod.example/c i'],
    ['a trailing newline', 'spiffe://prod.example/ci\n'],
    ['a newline after the trust domain', 'spiffe://prod.example\n/ci'],
    ['a backslash', 'spiffe://prod.example\\ci'],
    ['one slash', 'spiffe:/prod.example/ci'],
    ['no slashes', 'spiffe:prod.example/ci'],
    ['a trust domain of 256 bytes', `spiffe://${'a'.repeat(256)}/ci`],
    ['nothing', ''],
  ])('refuses %s', (_, text) => {
    expect(parseSpiffeId(text)).toBeNull()
  })

  it('accepts 2,048 bytes and refuses 2,049', () => {
    const longest = `spiffe://prod.example/${'x'.repeat(2048 - 22)}`
    expect(longest).toHaveLength(2048)
    expect(parseSpiffeId(longest)).not.toBeNull()
    expect(parseSpiffeId(`${longest}x`)).toBeNull()
  })

  const letters = (chars: string) =>
    fc.string({ unit: fc.constantFrom(...chars), minLength: 1, maxLength: 20 })
  const domain = letters('abcz019._-')
  const segment = letters('abzABZ019._-').filter(text => text !== '.' && text !== '..')

  it('reads every ID that the standard allows, and puts it together again as it was', () => {
    fc.assert(
      fc.property(domain, fc.array(segment, { minLength: 1, maxLength: 8 }), (trustDomain, segments) => {
        const path = `/${segments.join('/')}`
        expect(parseSpiffeId(`spiffe://${trustDomain}${path}`)).toEqual({ trustDomain, path })
      }),
    )
  })

  it('accepts no text with a character that the standard forbids', () => {
    fc.assert(
      fc.property(
        domain,
        segment,
        fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
        fc.nat(),
        (name, path, odd, at) => {
          fc.pre(!/[A-Za-z0-9._/-]/.test(odd))
          const id = `spiffe://${name}/${path}`
          const place = at % (id.length + 1)
          expect(parseSpiffeId(id.slice(0, place) + odd + id.slice(place))).toBeNull()
        },
      ),
    )
  })

  it('reads anything else into parts that are exactly its text, or not at all', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.webUrl(), fc.string()).map(text => text.replace(/^https?/, 'spiffe')),
        text => {
          const id = parseSpiffeId(text)
          if (id) expect(`spiffe://${id.trustDomain}${id.path}`).toBe(text)
        },
      ),
    )
  })

  it('knows the name of a trust domain', () => {
    expect(isTrustDomain('prod.example')).toBe(true)
    expect(['', 'Prod', 'prod:1', 'prod/x', 'prod\n'].filter(isTrustDomain)).toEqual([])
  })
})
