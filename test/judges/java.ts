import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import type { Verdict } from './judge.ts'

/** Java that stays: it takes longer to start than to judge. */
export interface JavaJudge {
  /** See CertPathJudge.java. */
  ask(...words: string[]): Promise<Verdict>
  close(): Promise<void>
}

export function startJavaJudge(...properties: string[]): JavaJudge {
  const source = join(import.meta.dirname, 'CertPathJudge.java')
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn('java', [...properties, source], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()))
  const waiting: PromiseWithResolvers<string>[] = []
  createInterface(child.stdout).on('line', line => waiting.shift()?.resolve(line))
  const over = () => {
    for (const { reject } of waiting.splice(0)) reject(new Error('Java has ended'))
  }
  ended.then(over)
  // What is written to one that has ended.
  child.stdin.on('error', over)
  return {
    async ask(...words) {
      const answer = Promise.withResolvers<string>()
      waiting.push(answer)
      child.stdin.write(`${words.join('\t')}\n`)
      const said = await answer.promise
      return said === 'accepted' ? null : said
    },
    async close() {
      child.stdin.end()
      await ended
    },
  }
}
