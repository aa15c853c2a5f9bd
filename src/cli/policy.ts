import { resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { faultText } from '../decide/fault.ts'
import { checkPolicyDir } from '../decide/folder.ts'
import { configOf, globalOptions } from './connect.ts'
import { type Asked, explain } from './explain.ts'
import { CommandError, type Io } from './io.ts'
import { jsonText, printable } from './output.ts'

export const addPolicy = (program: Command, io: Io): void => {
  const policy = program.command('policy').description('policies, without a broker')

  policy
    .command('check')
    .description('say what the broker would say of a folder of policies')
    .argument('<dir>', 'the folder')
    .action(async (dir: string, _: object, command: Command) => {
      const { json } = globalOptions(command)
      const { faults, warnings } = await checkPolicyDir(resolve(io.cwd, dir))
      if (json) io.out(jsonText({ faults, warnings }))
      else for (const warning of warnings) io.err(printable(`warning: ${faultText(warning)}`))
      if (!json) for (const fault of faults) io.err(printable(faultText(fault)))
      if (faults.length > 0) throw new CommandError(`${dir} would not be loaded`)
      if (!json) io.out(`${printable(dir)} would be loaded`)
    })

  policy
    .command('explain')
    .description('show what would be decided for an attestation, and why')
    .requiredOption(
      '--attestation <file>',
      'the ID token or SVID (a JWT, or a chain in PEM), verified for real; - for standard input',
    )
    .requiredOption('--scope <scope>', 'scopes, with spaces between them; may be repeated', words)
    .requiredOption('--audience <audience>', 'for whom; may be repeated', listed)
    .option('--kind <kind>', "the task's kind, where the attestation names no job")
    .option('--usage <usage>', 'ask for a certificate of that purpose; may be repeated', usage)
    .option('--dns-name <name>', 'ask for a certificate with that name; may be repeated', listed)
    .option(
      '--parent <file>',
      'the task to open it below, as "tasks show ID --json" prints it; repeated, root first, where that one has a parent',
      listed,
    )
    .action(async (asked: Asked, command: Command) => {
      const options = globalOptions(command)
      const { allow, text, json } = await explain(io, configOf(io, options), asked)
      io.out(options.json ? jsonText(json) : text)
      if (!allow) throw new CommandError('Policy would refuse this')
    })
}

const listed = (value: string, before: string[] = []): string[] => [...before, value]

const usage = (value: string, before: string[] = []): string[] => {
  if (value !== 'clientAuth' && value !== 'serverAuth')
    throw new InvalidArgumentError('It must be clientAuth or serverAuth.')
  return listed(value, before)
}

/** Scope tokens of RFC 6749 §3.3, so that no scope at all is not taken for nothing to refuse. */
const words = (value: string, before: string[] = []): string[] => {
  if (!/^[!#-[\]-~]+( [!#-[\]-~]+)*$/.test(value))
    throw new InvalidArgumentError('It is not a list of scopes.')
  return [...before, ...value.split(' ')]
}
