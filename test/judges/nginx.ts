import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as after } from 'node:timers/promises'
import type { Presented } from './court.ts'
import { host } from './service.ts'

/** nginx as a service that asks for certificates. */
export interface Nginx {
  /** Of the one that goes by CRLs, and of the one that asks by OCSP. */
  sockets: { crl: string; ocsp: string }
  /** Configures it anew and reloads it: from then on its answers begin with what is returned. */
  trust(of: { ca: string; roots: string; crls: string[] }): Promise<string>
  close(): Promise<void>
}

/** Milliseconds. */
const patience = 20_000

/** Needs no rights but those of who starts it: whatever it writes is in a folder of its own. */
export async function startNginx(own: Presented): Promise<Nginx> {
  const folder = mkdtempSync(join(tmpdir(), 'hallpass-nginx-'))
  const at = (name: string) => join(folder, name)
  const errors = () => readFileSync(at('error.log'), 'utf8')
  writeFileSync(at('key.pem'), own.key, { mode: 0o600 })
  writeFileSync(at('chain.pem'), own.certificate + own.chain)
  for (const name of ['ca.pem', 'roots.pem']) writeFileSync(at(name), own.chain)
  let generation = 0
  const configure = (crl: string) => writeFileSync(at('nginx.conf'), configuration(at, generation, crl))

  configure('')
  const child = spawn('nginx', ['-p', folder, '-c', at('nginx.conf'), '-e', at('error.log')], {
    stdio: 'ignore',
  })
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()))

  return {
    sockets: { crl: at('crl.sock'), ocsp: at('ocsp.sock') },
    async trust({ ca, roots, crls }) {
      generation++
      writeFileSync(at('ca.pem'), ca)
      writeFileSync(at('roots.pem'), roots)
      writeFileSync(at('crls.pem'), crls.join(''))
      configure(`ssl_crl ${at('crls.pem')};`)
      const deadline = Date.now() + patience
      while (!isRunning(at('nginx.pid'))) {
        if (child.exitCode !== null || Date.now() > deadline) throw new Error(`no nginx: ${errors()}`)
        await after(20)
      }
      child.kill('SIGHUP')
      return `generation ${generation}:`
    },
    async close() {
      child.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function isRunning(pidFile: string): boolean {
  try {
    return readFileSync(pidFile, 'utf8') !== ''
  } catch {
    return false
  }
}

/** Asks until the answer is one of what was configured last: workers from before go on for a moment. */
export async function settled<T extends { text: string }>(begins: string, ask: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + patience
  for (;;) {
    const answer = await ask()
    if (answer.text.startsWith(begins) || Date.now() > deadline) return answer
    await after(20)
  }
}

const configuration = (at: (name: string) => string, generation: number, crl: string): string => `
daemon off;
worker_processes 1;
pid ${at('nginx.pid')};
events { worker_connections 64; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(kind => `${kind}_temp_path ${at(kind)};`).join(' ')}
  keepalive_timeout 0;
  ssl_certificate ${at('chain.pem')};
  ssl_certificate_key ${at('key.pem')};
  ssl_verify_client on;
  ssl_verify_depth 2;
  server {
    listen unix:${at('crl.sock')} ssl;
    server_name ${host};
    ssl_client_certificate ${at('ca.pem')};
    ${crl}
    ${answers(generation)}
  }
  server {
    listen unix:${at('ocsp.sock')} ssl;
    server_name ${host};
    ssl_client_certificate ${at('roots.pem')};
    ssl_ocsp leaf;
    ${answers(generation)}
  }
}
`

/** 495 is nginx's own of a certificate that it refuses, 496 of none. */
const answers = (generation: number): string => `
    error_page 495 496 = @refused;
    location / { return 200 "generation ${generation}: $ssl_client_verify $ssl_client_serial"; }
    location @refused { return 403 "generation ${generation}: $ssl_client_verify"; }`
