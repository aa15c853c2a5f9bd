import { type Command, Option } from 'commander'
import { id, type PageOptions, paged } from './arguments.ts'
import { connect, globalOptions } from './connect.ts'
import type { Io } from './io.ts'
import { printPage } from './output.ts'

const columns = ['at', 'decision', 'action', 'principal', 'task_id', 'policies', 'code', 'reason', 'id']

interface Search extends PageOptions {
  task?: string
  principal?: string
  action?: string
  decision?: string
}

export const addDecisions = (program: Command, io: Io): void => {
  const decisions = program
    .command('decisions')
    .description('what was asked, and why it was allowed or refused')

  paged(decisions.command('list').description('search the decision log, newest first'))
    .addOption(new Option('--task <id>').argParser(id))
    .option('--principal <id>')
    .option('--action <action>')
    .addOption(new Option('--decision <decision>').choices(['allow', 'deny']))
    .action(async ({ task, principal, action, decision, limit, cursor }: Search, command: Command) => {
      const options = globalOptions(command)
      const client = await connect(io, options)
      const query = { task, principal, action, decision, limit, cursor }
      printPage(io, await client.page('/v1/decisions', query), { ...options, columns })
    })
}
