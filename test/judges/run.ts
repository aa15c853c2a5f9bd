import { execFile } from 'node:child_process'
import type { Verdict } from './judge.ts'

/** What a program said in all, and how it ended. */
export interface Said {
  status: number | null
  text: string
}

/** Runs a program to its end, while others go on: the broker that it asks may be in this process. */
export const run = (program: string, ...options: string[]): Promise<Said> =>
  new Promise((resolve, reject) => {
    const child = execFile(program, options, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error && child.exitCode === null) reject(error)
      else resolve({ status: child.exitCode, text: `${stdout}${stderr}` })
    })
    child.stdin?.end()
  })

/** Null where the program is content. */
export async function verdictOf(program: string, ...options: string[]): Promise<Verdict> {
  const { status, text } = await run(program, ...options)
  return status === 0 ? null : text
}
