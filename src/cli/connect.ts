import type { Command } from 'commander'
import { mintOperatorToken } from '../attest/operator-token.ts'
import { urlFault } from '../config/url.ts'
import { type LoadedConfig, loadConfig } from '../config.ts'
import { readMasterKey } from '../secrets/master-key.ts'
import { type Client, createClient } from './client.ts'
import { CommandError, type Io } from './io.ts'

/** What every command takes. */
export interface GlobalOptions {
  config?: string
  url?: string
  token?: string
  json?: boolean
}

export const globalOptions = (command: Command): GlobalOptions & { json: boolean } => {
  const options = command.optsWithGlobals<GlobalOptions>()
  return { ...options, json: options.json === true }
}

export const configOf = (io: Io, { config }: GlobalOptions): LoadedConfig =>
  loadConfig({ cwd: io.cwd, env: config === undefined ? io.env : { ...io.env, HALLPASS_CONFIG: config } })

/**
 * A client for the broker that the options, or else the configuration, name. Without a token one is made, for whoever can read the
 * master key. With both named, there need not be a configuration.
 */
export const connect = async (io: Io, options: GlobalOptions): Promise<Client> => {
  const given = options.token ?? io.env.HALLPASS_TOKEN
  const config = options.url !== undefined && given !== undefined ? null : configOf(io, options)
  const url = options.url ?? config!.issuer
  const fault = urlFault(url) ?? (url.includes('?') ? 'must not have a query' : null)
  if (fault !== null) throw new CommandError(`--url ${fault}`, 2)
  const token = given ?? (await operatorToken(io, config!))
  // Also keeps line breaks out of the header.
  if (!/^[\w.~+/=-]+$/.test(token)) throw new CommandError('--token is not a bearer token', 2)
  return createClient({ url, token, fetch: io.fetch })
}

/** The bootstrap operator token (contract §3). */
export const operatorToken = (io: Io, config: LoadedConfig): Promise<string> => {
  const masterKey = readMasterKey(config)
  if (masterKey === null) {
    throw new CommandError(
      `There is no master key in ${config.dataDir}: start the broker first, or give a token`,
    )
  }
  return mintOperatorToken({ masterKey, issuer: config.issuer, clock: io.clock })
}
