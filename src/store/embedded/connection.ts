import pg from 'pg'

/** A connection string for `pg` and `psql`. Nothing in it is left for PG* variables of the environment to fill in. */
export function urlOf(sockets: string, user: string, database: string): string {
  return `postgresql://${user}@/${database}?host=${encodeURIComponent(sockets)}&port=5432&sslmode=disable`
}

export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  // Without a listener a lost connection would end the process; the next query reports it.
  client.on('error', () => {})
  await client.connect()
  return client
}
