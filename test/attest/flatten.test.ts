import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { flattenClaims } from '../../src/attest/flatten.ts'
import { isJsonObject, readStrictJson } from '../../src/attest/strict-json.ts'
import { HallpassError } from '../../src/errors.ts'

const flatten = (json: string, groupsClaim: string | null = null) => {
  const claims = readStrictJson(Buffer.from(json))
  if (!isJsonObject(claims)) throw new Error('not an object')
  return flattenClaims(claims, 'ci', groupsClaim)
}

const reasonFor = (json: string): unknown => {
  try {
    return flatten(json)
  } catch (error) {
    return error instanceof HallpassError && error.cause instanceof Error ? error.cause.message : error
  }
}

describe('flattened claims', () => {
  it('joins nested names by dots', () => {
    const { tags } = flatten('{"kubernetes.io":{"namespace":"prod","pod":{"name":"p","uid":"u"}},"sub":"s"}')
    expect(tags).toEqual({
      'kubernetes.io.namespace': 'prod',
      'kubernetes.io.pod.name': 'p',
      'kubernetes.io.pod.uid': 'u',
      sub: 's',
    })
  })

  it('keeps the JSON text of numbers and booleans as written', () => {
    const { tags } = flatten('{"a":1.50,"b":12345678901234567890,"c":-1E+2,"d":true,"e":false,"f":"1.50"}')
    expect(tags).toEqual({
      a: '1.50',
      b: '12345678901234567890',
      c: '-1E+2',
      d: 'true',
      e: 'false',
      f: '1.50',
    })
  })

  it('makes groups of arrays of strings, each part encoded where it holds a slash or a percent sign', () => {
    const { tags, groups } = flatten(
      '{"roles":["sre","a/b","50%"],"https://x/roles":["y"],"n":{"teams":["t"]}}',
    )
    expect(tags).toEqual({})
    expect(groups).toEqual([
      'ci/roles/sre',
      'ci/roles/a%2Fb',
      'ci/roles/50%25',
      'ci/https:%2F%2Fx%2Froles/y',
      'ci/n.teams/t',
    ])
  })

  it('makes a group of the scalar of the groups claim, nested or not, and of no other', () => {
    expect(flatten('{"group":"sre","team":"sre"}', 'group')).toEqual({
      tags: { team: 'sre' },
      groups: ['ci/group/sre'],
    })
    expect(flatten('{"realm":{"role":7}}', 'realm.role').groups).toEqual(['ci/realm.role/7'])
  })

  it('leaves out what has no faithful form', () => {
    expect(
      flatten('{"a":null,"b":{},"c":[1,2],"d":["x",1],"e":[["x"]],"f":[{"g":"h"}],"i":[]}', 'a'),
    ).toEqual({
      tags: {},
      groups: [],
    })
  })

  it('has no tag that was not attested, whatever its name', () => {
    const { tags } = flatten('{"valueOf":"p","constructor":"c"}')
    expect(Object.entries(tags)).toEqual([
      ['valueOf', 'p'],
      ['constructor', 'c'],
    ])
    expect(flatten('{}').tags.toString).toBeUndefined()
  })

  it.each([
    ['two scalars', '{"a.b":"1","a":{"b":"2"}}'],
    ['two equal scalars', '{"a":{"b":"1"},"a.b":"1"}'],
    ['a scalar and an array', '{"a.b":["1"],"a":{"b":"1"}}'],
    ['a scalar and null', '{"a.b":null,"a":{"b":"1"}}'],
    ['a scalar and an empty object', '{"a.b":{},"a":{"b":"1"}}'],
    ['deeper ones', '{"a":{"b.c":"1"},"a.b":{"c":"1"}}'],
  ])('refuses %s under the same name', (_, json) => {
    expect(reasonFor(json)).toBe('claims_collide')
  })

  it('refuses more claims, groups and longer names than it has room for', () => {
    const many = (count: number) => Array.from({ length: count }, (_, n) => `"c${n}":"x"`).join(',')
    expect(reasonFor(`{${many(257)}}`)).toBe('claims_too_many')
    expect(reasonFor(`{"a":{${many(257)}}}`)).toBe('claims_too_many')
    expect(reasonFor(`{"${'n'.repeat(513)}":"x"}`)).toBe('claims_too_many')
    expect(reasonFor(`{"${'n'.repeat(300)}":{"${'n'.repeat(300)}":"x"}}`)).toBe('claims_too_many')
    expect(reasonFor(`{"g":${JSON.stringify(Array.from({ length: 513 }, (_, n) => String(n)))}}`)).toBe(
      'claims_too_many',
    )
    expect(Object.keys(flatten(`{${many(256)}}`).tags)).toHaveLength(256)
    expect(
      flatten(`{"g":${JSON.stringify(Array.from({ length: 512 }, (_, n) => String(n)))}}`).groups,
    ).toHaveLength(512)
  })

  it('gives no two of trust source, claim and value the same group', () => {
    const tricky = fc.string({ unit: fc.constantFrom('/', '%', '2', '5', 'F', 'a', '.'), maxLength: 6 })
    const triple = fc.tuple(tricky, tricky, tricky)
    const group = ([trust, claim, value]: [string, string, string]) =>
      flattenClaims({ [claim]: [value] }, trust, null).groups[0]
    fc.assert(
      fc.property(triple, triple, (a, b) => {
        expect(group(a) === group(b)).toBe(a.every((part, n) => part === b[n]))
      }),
    )
  })

  it('accounts for every string, number and boolean of a token, or refuses it', () => {
    const leaf = fc.oneof(fc.string(), fc.boolean(), fc.integer())
    const { claims } = fc.letrec(tie => ({
      claims: fc.dictionary(
        fc.string({ minLength: 1 }),
        fc.oneof({ depthSize: 'small' }, leaf, tie('claims')),
        { maxKeys: 5 },
      ),
    }))
    const leaves = (value: unknown): string[] =>
      typeof value === 'object' && value !== null ? Object.values(value).flatMap(leaves) : [String(value)]
    fc.assert(
      fc.property(claims, object => {
        const json = JSON.stringify(object).replaceAll('\\u0000', '0')
        fc.pre(!json.includes('__proto__'))
        const result = reasonFor(json)
        if (result === 'claims_collide') return
        expect(Object.values((result as { tags: Record<string, string> }).tags)).toEqual(
          leaves(JSON.parse(json)),
        )
      }),
    )
  })
})
