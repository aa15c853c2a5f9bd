import type { Command } from 'commander'
import { connect, globalOptions } from './connect.ts'
import type { Io } from './io.ts'
import { printPage } from './output.ts'

const columns = ['kid', 'alg', 'state', 'published_at', 'active_at', 'retired_at', 'last_day']

export const addKeys = (program: Command, io: Io): void => {
  const keys = program.command('keys').description('the keys that sign')

  keys
    .command('list')
    .description('every key that is published')
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
}
