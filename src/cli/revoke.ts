import { type Command, Option } from 'commander'
import { connect, globalOptions } from './connect.ts'
import { CommandError, type Io } from './io.ts'
import { printOne, type Row } from './output.ts'

/** There can be very many tasks. Milliseconds. */
const patience = 300_000

interface Asked {
  principal?: string
  trust?: string
  everything?: true
  reason?: string
  until?: string
  dryRun?: true
}

export const addRevoke = (program: Command, io: Io): void => {
  program
    .command('revoke')
    .description('end all tasks of a principal, of a trust source, or all there are, and let none come back')
    .option('--principal <id>', 'of exactly this principal')
    .addOption(new Option('--trust <name>', 'of this trust source').conflicts('principal'))
    .addOption(new Option('--everything', 'of everybody: break the glass').conflicts(['principal', 'trust']))
    .option('--until <time>', 'RFC 3339; when the block passes by itself, else it stands until it is lifted')
    .option('--reason <text>', 'for the log and the list of blocks')
    .option('--dry-run', 'only count what it would end')
    .action(async (asked: Asked, command: Command) => {
      const { principal, trust, everything, reason, until, dryRun: dry_run } = asked
      if (principal === undefined && trust === undefined && everything === undefined)
        throw new CommandError('One of --principal, --trust and --everything is needed', 2)
      const options = globalOptions(command)
      const body = { principal, trust, everything, reason, until, dry_run }
      const answer = await (await connect(io, options)).post('/v1/revocations', body, { patience })
      printOne(io, options.json ? answer : { ...answer, block: blockId(answer) }, options)
    })
}

const blockId = ({ block }: Row): unknown => (block as { id?: unknown } | null | undefined)?.id ?? null
