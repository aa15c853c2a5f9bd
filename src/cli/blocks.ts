import type { Command } from 'commander'
import { id, type PageOptions, paged } from './arguments.ts'
import { connect, globalOptions } from './connect.ts'
import type { Io } from './io.ts'
import { printPage } from './output.ts'

const columns = ['id', 'principal', 'trust', 'everything', 'until', 'created_by', 'created_at', 'reason']

export const addBlocks = (program: Command, io: Io): void => {
  const blocks = program.command('blocks').description('who gets nothing new')

  paged(blocks.command('list').description('those that stand, newest first')).action(
    async ({ limit, cursor }: PageOptions, command: Command) => {
      const options = globalOptions(command)
      printPage(io, await (await connect(io, options)).page('/v1/blocks', { limit, cursor }), {
        ...options,
        columns,
      })
    },
  )

  blocks
    .command('lift')
    .description('let them come again; nothing that was ended comes back')
    .argument('<id>', 'the block', id)
    .action(async (block: string, _: object, command: Command) => {
      const options = globalOptions(command)
      await (await connect(io, options)).remove(`/v1/blocks/${block}`)
      if (!options.json) io.out(`${block} is lifted`)
    })
}
