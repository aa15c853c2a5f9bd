import { type Command, InvalidArgumentError } from 'commander'
import { connect, globalOptions } from './connect.ts'
import type { Io } from './io.ts'
import { printPage } from './output.ts'

const columns = ['kid', 'use', 'alg', 'state', 'published_at', 'active_at', 'retired_at', 'last_day']

export const addKeys = (program: Command, io: Io): void => {
  const keys = program.command('keys').description('the keys that sign')

  keys
    .command('list')
    .description('every key that is published, and those withdrawn lately')
    .action(async (_: object, command: Command) => {
      const options = globalOptions(command)
      printPage(io, await (await connect(io, options)).page('/v1/keys'), { ...options, columns })
    })

  keys
    .command('rotate')
    .description('hand every key in use over to its prepared successor')
    .action(async (_: object, command: Command) => {
      const options = globalOptions(command)
      printPage(io, await (await connect(io, options)).postForPage('/v1/keys/rotate'), {
        ...options,
        columns,
      })
    })

  keys
    .command('withdraw')
    .description('for a key that may be in other hands: everything that it signed is dead')
    .argument('<kid>', 'the key; after -- where it begins with a hyphen', kid)
    .option('--reason <text>', 'for the log')
    .action(async (key: string, { reason }: { reason?: string }, command: Command) => {
      const options = globalOptions(command)
      const client = await connect(io, options)
      printPage(io, await client.postForPage(`/v1/keys/${key}/withdraw`, { reason }), { ...options, columns })
    })
}

const kid = (text: string): string => {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new InvalidArgumentError('It is not a kid.')
  return text
}
