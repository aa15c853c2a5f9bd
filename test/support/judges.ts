import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writePem } from '../../src/der/pem.ts'

/** Whether a program is there to judge. */
export const isThere = (program: string, versionFlag = '--version'): boolean =>
  spawnSync(program, [versionFlag], { stdio: 'ignore' }).status === 0

/** A chain in a folder of its own, as programs that are not ours read it. */
export interface Verdicts {
  /** `openssl verify -x509_strict`: null where it agrees, else what it says. */
  openssl(...options: string[]): string | null
  /** `certtool --verify` of GnuTLS. */
  gnutls(): string | null
  /** `openssl x509 -text` of the leaf. */
  text(): string
}

/** Runs `judge` over the chain, and leaves nothing behind. */
export function judged<T>(
  chain: { root: Buffer; between: Buffer[]; leaf: Buffer },
  judge: (verdicts: Verdicts) => T,
): T {
  const folder = mkdtempSync(join(tmpdir(), 'hallpass-judges-'))
  const file = (name: string, ...certificates: Buffer[]): string => {
    const path = join(folder, name)
    writeFileSync(path, certificates.map(der => writePem('CERTIFICATE', der)).join(''))
    return path
  }
  try {
    const root = file('root.pem', chain.root)
    const between = file('between.pem', ...chain.between)
    const leaf = file('leaf.pem', chain.leaf)
    const whole = file('chain.pem', chain.leaf, ...chain.between)
    return judge({
      openssl: (...options) =>
        said(
          'openssl',
          'verify',
          '-x509_strict',
          ...options,
          '-no-CApath',
          '-no-CAstore',
          '-CAfile',
          root,
          '-untrusted',
          between,
          leaf,
        ),
      gnutls: () => said('certtool', '--verify', '--load-ca-certificate', root, '--infile', whole),
      text: () => execFileSync('openssl', ['x509', '-in', leaf, '-noout', '-text'], { encoding: 'utf8' }),
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Null where the program is content, else all that it said. */
function said(program: string, ...options: string[]): string | null {
  const { status, stdout, stderr } = spawnSync(program, options, { encoding: 'utf8' })
  return status === 0 ? null : `${stdout}${stderr}`
}
