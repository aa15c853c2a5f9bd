import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { TestBroker } from './broker.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Another replica of a test's broker, as a process of its own that can be killed. It trusts nobody: for what is public. */
export interface ReplicaProcess {
  url: string
  /** SIGKILL. Waits for the end. */
  kill(): Promise<void>
}

export async function startReplicaProcess({ config, databaseUrl }: TestBroker): Promise<ReplicaProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'hallpass-replica-'))
  const file = join(folder, 'hallpass.yaml')
  await writeFile(file, `issuer: ${config.issuer}\nlisten: { port: 0 }\ndata_dir: ./data\n`)
  const { PATH, HOME, TMPDIR } = process.env
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: root,
    env: {
      PATH,
      HOME,
      TMPDIR,
      HALLPASS_CONFIG: file,
      DATABASE_URL: databaseUrl,
      HALLPASS_MASTER_KEY: config.masterKey?.toString('base64'),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => {
      const { msg, url } = JSON.parse(line) as { msg?: string; url?: string }
      if (msg === 'hallpass is open' && url) resolve(url)
    })
    child.once('exit', code => reject(new Error(`the replica ended (${code})`)))
  })
  return {
    url,
    async kill() {
      child.kill('SIGKILL')
      await exit
      await rm(folder, { recursive: true, force: true })
    },
  }
}
