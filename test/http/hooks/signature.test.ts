import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Hook } from '../../../src/config.ts'
import { isAuthentic } from '../../../src/http/hooks/signature.ts'
import { hook, signature, standardSignature } from '../../support/authorities.ts'

const authentic = (of: Hook, body: string, headers: Record<string, string>): boolean => {
  const lower = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return isAuthentic(of, Buffer.from(body), name => lower.get(name.toLowerCase()))
}

describe('a signature over the body', () => {
  const secret = "It's a Secret to Everybody"
  const github = hook('github', { secret })
  const header = 'X-Hub-Signature-256'
  const hex = '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'

  it('is GitHub’s published example', () => {
    expect(authentic(github, 'Hello, World!', { [header]: `sha256=${hex}` })).toBe(true)
  })

  it.each([
    ['bare, as many systems send it', hex],
    ['in capitals', `sha256=${hex.toUpperCase()}`],
    ['as CircleCI writes it', `v1=${hex}`],
  ])('may be %s', (_, value) => {
    expect(authentic(hook('generic', { secret }), 'Hello, World!', { [header]: value })).toBe(true)
  })

  it.each([
    ['is missing', {}],
    ['is empty', { [header]: '' }],
    ['is in another header', { 'X-Hub-Signature': `sha256=${hex}` }],
    [
      'is of another algorithm',
      { [header]: `sha1=${createHmac('sha1', secret).update('Hello, World!').digest('hex')}` },
    ],
    ['says another algorithm', { [header]: `sha1=${hex}` }],
    ['is of another secret', { [header]: signature('Hello, World!', 'another') }],
    ['is of another body', { [header]: signature('Hello, World', secret) }],
    ['is of no secret', { [header]: signature('Hello, World!', '') }],
    ['is cut', { [header]: `sha256=${hex.slice(0, -2)}` }],
    ['is longer', { [header]: `sha256=${hex}00` }],
    ['is in base64', { [header]: `sha256=${Buffer.from(hex, 'hex').toString('base64')}` }],
    ['is one of two', { [header]: `sha256=${'0'.repeat(64)}, sha256=${hex}` }],
    ['has a space', { [header]: ` sha256=${hex}` }],
    ['has a line after it', { [header]: `sha256=${hex}\n` }],
    ['is the secret itself', { [header]: secret, 'X-Gitlab-Token': secret }],
  ])('proves nothing when it %s', (_, headers) => {
    expect(authentic(github, 'Hello, World!', headers)).toBe(false)
  })

  it('property: proves nothing for any other body', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        expect(authentic(github, other, { [header]: signature(one, secret) })).toBe(one === other)
      }),
    )
  })
})

describe('GitLab’s secret token', () => {
  const gitlab = hook('gitlab', { secret: 'a secret token' })

  it('is the secret itself', () => {
    expect(authentic(gitlab, 'x', { 'X-Gitlab-Token': 'a secret token' })).toBe(true)
  })

  it.each(['', 'a secret toke', 'a secret token ', 'A secret token', 'undefined'])('is not %j', token => {
    expect(authentic(gitlab, 'x', { 'X-Gitlab-Token': token })).toBe(false)
  })

  it('cannot be left out, nor be anything else that is signed', () => {
    expect(authentic(gitlab, 'x', {})).toBe(false)
    expect(authentic(gitlab, 'x', { 'X-Hub-Signature-256': signature('x', gitlab.secret) })).toBe(false)
  })
})

describe('GitLab’s signing token', () => {
  // The example that the libraries of Standard Webhooks are tested with.
  const token = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
  const gitlab = hook('gitlab', { secret: token })
  const body = '{"test": 2432232314}'
  const example = {
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  }
  const [, made = ''] = example['webhook-signature'].split(',')

  it('signs as Standard Webhooks says', () => {
    expect(authentic(gitlab, body, example)).toBe(true)
    expect(standardSignature(body, token, 'msg_p5jXN8AQM9LWM0D4loKWxJek', '1614265330')).toEqual(example)
  })

  it('may sign beside others, of a secret that is being replaced', () => {
    const several = `v1,${Buffer.alloc(32).toString('base64')} v1a,x v1,${made}`
    expect(authentic(gitlab, body, { ...example, 'webhook-signature': several })).toBe(true)
  })

  it.each<[string, Record<string, string>]>([
    ['the token itself is sent', { 'X-Gitlab-Token': token }],
    ['the ID is missing', { ...example, 'webhook-id': '' }],
    ['the ID is another', { ...example, 'webhook-id': 'msg_other' }],
    ['the time is missing', { ...example, 'webhook-timestamp': '' }],
    ['the time is another', { ...example, 'webhook-timestamp': '1614265331' }],
    ['the time is none', { ...example, 'webhook-timestamp': '1614265330 ' }],
    ['the signature is missing', { ...example, 'webhook-signature': '' }],
    ['the signature has no version', { ...example, 'webhook-signature': made }],
    ['the signature is of another version', { ...example, 'webhook-signature': `v2,${made}` }],
    [
      'the body is signed with the token’s text',
      standardSignature(body, `whsec_${Buffer.from(token).toString('base64')}`),
    ],
    ['only the body is signed', { ...example, 'webhook-signature': signature(body, token) }],
  ])('proves nothing when %s', (_, headers) => {
    expect(authentic(gitlab, body, headers)).toBe(false)
  })

  it('vouches for where the time ends and the body begins', () => {
    const whole = '{"a":"1.{\\"object_kind\\":\\"build\\"}'
    const { 'webhook-signature': made, ...rest } = standardSignature(whole, token)
    const [head, tail] = [whole.slice(0, 6), whole.slice(8)]
    const moved = {
      ...rest,
      'webhook-timestamp': `${rest['webhook-timestamp']}.${head}1`,
      'webhook-signature': made ?? '',
    }
    expect(authentic(gitlab, tail, moved)).toBe(false)

    const [id, time] = [rest['webhook-id'], rest['webhook-timestamp']]
    const number = standardSignature('1.5', token)
    const longer = { ...number, 'webhook-id': `${id}.${time}`, 'webhook-timestamp': '1' }
    expect(authentic(gitlab, '1.5', number)).toBe(true)
    expect(authentic(gitlab, '5', longer)).toBe(false)
  })
})
