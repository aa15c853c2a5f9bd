import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config.ts'
import { HallpassError } from '../errors.ts'
import { addBlocks } from './blocks.ts'
import { addCa } from './ca.ts'
import { configOf, globalOptions, operatorToken } from './connect.ts'
import { addCredentials } from './credentials.ts'
import { addDecisions } from './decisions.ts'
import { CommandError, type Io } from './io.ts'
import { addKeys } from './keys.ts'
import { printableLines } from './output.ts'
import { addPolicy } from './policy.ts'
import { addRevoke } from './revoke.ts'
import { addTasks } from './tasks.ts'
import { addWatchJobs } from './watch-jobs.ts'

/** Runs one command. @returns its exit code: 0 done, 1 refused or failed, 2 wrongly called. */
export const run = async (args: readonly string[], io: Io): Promise<number> => {
  try {
    await program(io).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    // Commander has said already what is wrong.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    io.err(`hallpass: ${printableLines(messageOf(error))}`)
    return error instanceof CommandError ? error.exitCode : 1
  }
}

const program = (io: Io): Command => {
  const hallpass = new Command('hallpass')
    .description('Every CI job and every AI agent gets a credential that dies with its task.')
    .exitOverride()
    .configureOutput({
      writeOut: text => io.out(text.replace(/\n$/, '')),
      writeErr: text => io.err(printableLines(text.replace(/\n$/, ''))),
    })
    .option('--config <file>', 'in place of $HALLPASS_CONFIG or ./hallpass.yaml')
    .option('--url <url>', "the broker; by default the configuration's issuer")
    .option(
      '--token <token>',
      'better in $HALLPASS_TOKEN; by default made from the master key, if it can be read',
    )
    .option('--json', 'what the broker answered, for machines')

  hallpass
    .command('operator-token')
    .description('print a bootstrap operator token: one hour, for whoever can read the master key')
    .action(async (_: object, command: Command) => {
      io.out(await operatorToken(io, configOf(io, globalOptions(command))))
    })
  addTasks(hallpass, io)
  addCredentials(hallpass, io)
  addRevoke(hallpass, io)
  addBlocks(hallpass, io)
  addDecisions(hallpass, io)
  addKeys(hallpass, io)
  addCa(hallpass, io)
  addPolicy(hallpass, io)
  addWatchJobs(hallpass, io)
  return hallpass
}

const messageOf = (error: unknown): string => {
  if (error instanceof HallpassError) return `${error.message} (code ${error.code})`
  if (error instanceof ConfigError || error instanceof CommandError) return error.message
  return `failed unexpectedly (${error instanceof Error ? error.name : 'unknown'})`
}
