import type { Command } from 'commander'
import { id, type PageOptions, paged } from './arguments.ts'
import { connect, globalOptions } from './connect.ts'
import type { Io } from './io.ts'
import { printOne, printPage } from './output.ts'

const columns = ['jti', 'live', 'scope', 'audience', 'issued_at', 'expires_at', 'revoked_at']

export const addCredentials = (program: Command, io: Io): void => {
  const credentials = program.command('credentials').description('what was minted')

  paged(credentials.command('list').description("a task's credentials, newest first"))
    .argument('<task>', 'the task', id)
    .action(async (task: string, { limit, cursor }: PageOptions, command: Command) => {
      const options = globalOptions(command)
      const client = await connect(io, options)
      printPage(io, await client.page(`/v1/tasks/${task}/credentials`, { limit, cursor }), {
        ...options,
        columns,
      })
    })

  credentials
    .command('show')
    .description('what is known of one; never the credential itself')
    .argument('<jti>', 'the credential', id)
    .action(async (jti: string, _: object, command: Command) => {
      const options = globalOptions(command)
      printOne(io, await (await connect(io, options)).read(`/v1/credentials/${jti}`), options)
    })

  credentials
    .command('revoke')
    .description('this one alone; its task may mint again')
    .argument('<jti>', 'the credential', id)
    .option('--reason <text>', 'for the log')
    .action(async (jti: string, { reason }: { reason?: string }, command: Command) => {
      const options = globalOptions(command)
      printOne(
        io,
        await (await connect(io, options)).post(`/v1/credentials/${jti}/revoke`, { reason }),
        options,
      )
    })
}
