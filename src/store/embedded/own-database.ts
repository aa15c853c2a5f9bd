import { superuser } from './cluster.ts'
import { connect, urlOf } from './connection.ts'

/** The broker's role, which owns its database and nothing else, and the database's name. */
const name = 'hallpass'

/** Makes what is missing of the two; a start that was cut short is continued by the next. Returns the broker's own URL. */
export async function ensureOwnDatabase(sockets: string): Promise<string> {
  const client = await connect(urlOf(sockets, superuser, 'postgres'))
  try {
    const role = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [name])
    if (role.rowCount === 0) await client.query(`CREATE ROLE ${name} LOGIN`)
    const database = await client.query('SELECT FROM pg_database WHERE datname = $1', [name])
    if (database.rowCount === 0) await client.query(`CREATE DATABASE ${name} OWNER ${name}`)
  } finally {
    await client.end()
  }
  return urlOf(sockets, name, name)
}
