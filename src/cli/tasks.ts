import { type Command, Option } from 'commander'
import { operatorOutcomes } from '../store/task-record.ts'
import { id, type PageOptions, paged } from './arguments.ts'
import { connect, globalOptions } from './connect.ts'
import type { Io } from './io.ts'
import { printOne, printPage } from './output.ts'

const columns = ['id', 'state', 'close_reason', 'kind', 'ref', 'principal', 'deadline']

interface Search extends PageOptions {
  state?: string
  kind?: string
  ref?: string
  principal?: string
  parent?: string
}

export const addTasks = (program: Command, io: Io): void => {
  const tasks = program.command('tasks').description('what access rests on')

  paged(tasks.command('list').description('search tasks, newest first'))
    .addOption(new Option('--state <state>').choices(['open', 'suspended', 'closed']))
    .option('--kind <kind>')
    .option('--ref <ref>')
    .option('--principal <id>')
    .option('--parent <id>', 'the task that they were opened below', id)
    .action(async ({ state, kind, ref, principal, parent, limit, cursor }: Search, command: Command) => {
      const options = globalOptions(command)
      const client = await connect(io, options)
      printPage(io, await client.page('/v1/tasks', { state, kind, ref, principal, parent, limit, cursor }), {
        ...options,
        columns,
      })
    })

  tasks
    .command('show')
    .description('one task, all of it')
    .argument('<id>', 'the task', id)
    .action(async (task: string, _: object, command: Command) => {
      const options = globalOptions(command)
      printOne(io, await (await connect(io, options)).read(`/v1/tasks/${task}`), options)
    })

  for (const [action, description] of [
    ['suspend', 'its credentials are not live until it is resumed'],
    ['resume', 'open a suspended task again'],
  ] as const) {
    tasks
      .command(action)
      .description(description)
      .argument('<id>', 'the task', id)
      .option('--reason <text>', 'for the log')
      .action(async (task: string, { reason }: { reason?: string }, command: Command) => {
        const options = globalOptions(command)
        printOne(
          io,
          await (await connect(io, options)).post(`/v1/tasks/${task}/${action}`, { reason }),
          options,
        )
      })
  }

  tasks
    .command('close')
    .description('for ever, and with it all its credentials')
    .argument('<id>', 'the task', id)
    .addOption(new Option('--outcome <outcome>', 'how it ended').choices(operatorOutcomes))
    .option('--reason <text>', 'for the log')
    .action(async (task: string, body: { outcome?: string; reason?: string }, command: Command) => {
      const options = globalOptions(command)
      const { outcome, reason } = body
      printOne(
        io,
        await (await connect(io, options)).post(`/v1/tasks/${task}/close`, { outcome, reason }),
        options,
      )
    })
}
