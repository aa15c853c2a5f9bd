import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPrincipalId } from '../../src/attest/principal-id.ts'

describe('a principal’s ID is', () => {
  it.each([
    'github:repo:acme/api:ref:refs/heads/main',
    'ci:x',
    'a-1: ',
    'ci::',
    'ci:line\nbreak',
    'spiffe://prod.example/ci/deployer',
  ])('%j', text => {
    expect(isPrincipalId(text)).toBe(true)
  })
})

describe('a principal’s ID is not', () => {
  it.each([
    '',
    ':',
    ':x',
    'ci',
    'ci:',
    'CI:x',
    '1ci:x',
    'ci x:y',
    'hallpass:bootstrap',
    'https://ci.example',
    'urn:x',
    'spiffe:x',
    'spiffe://',
    'spiffe://prod.example',
    'spiffe://prod.example/',
    'spiffe://Prod.example/a',
    'spiffe://prod.example/a/../b',
    'spiffe://prod.example/a%2Fb',
    ' ci:x',
    '\nci:x',
  ])('%j', text => {
    expect(isPrincipalId(text)).toBe(false)
  })
})

it('property: any trust source’s name with any subject is one', () => {
  const names = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/)
  const reserved = ['spiffe', 'hallpass', 'http', 'https', 'urn']
  fc.assert(
    fc.property(names, fc.string({ minLength: 1 }), (name, sub) => {
      expect(isPrincipalId(`${name}:${sub}`)).toBe(!reserved.includes(name))
    }),
  )
})
