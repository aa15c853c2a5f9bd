import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { connect, globalOptions } from './connect.ts'
import { CommandError, type Io } from './io.ts'
import { details, jsonText, printOne, type Row, table } from './output.ts'

const columns = ['kid', 'own', 'state', 'active_at', 'retired_at', 'not_after']

export const addCa = (program: Command, io: Io): void => {
  const ca = program.command('ca').description('the certificate authority: its roots and issuing authorities')

  ca.command('show')
    .description('roots, authorities, and their dates')
    .action(async (_: object, command: Command) => {
      const options = globalOptions(command)
      show(io, await (await connect(io, options)).read('/v1/ca'), options)
    })

  ca.command('csr')
    .description("make an authority's key, and print the request for the organisation's root to sign")
    .action(async (_: object, command: Command) => {
      const options = globalOptions(command)
      const answer = await (await connect(io, options)).post('/v1/ca/csr')
      // As it is, so that it can go into a file.
      if (options.json) printOne(io, answer, options)
      else io.out(String(answer.csr).trimEnd())
    })

  ca.command('install')
    .description(
      'install what the root signed: the certificate of the requested key, those above it, and the root',
    )
    .argument('<file>', 'PEM, in any order')
    .action(async (file: string, _: object, command: Command) => {
      const options = globalOptions(command)
      const chain = readText(io, file)
      show(io, await (await connect(io, options)).post('/v1/ca/install', { chain }), options)
    })
}

const show = (io: Io, answer: Row, { json }: { json: boolean }): void => {
  if (json) {
    io.out(jsonText(answer))
    return
  }
  const { trust_domain, spiffe_sequence } = answer
  io.out(details({ trust_domain, spiffe_sequence }))
  io.out(`\nroots\n${table(rows(answer.roots), columns)}`)
  io.out(`\nauthorities\n${table(rows(answer.authorities), columns)}`)
}

const rows = (value: unknown): Row[] => (Array.isArray(value) ? value : [])

const readText = ({ cwd }: Io, file: string): string => {
  try {
    return readFileSync(resolve(cwd, file), 'utf8')
  } catch {
    throw new CommandError(`${file} cannot be read`)
  }
}
