import pg from 'pg'

// Run as a process of its own, so that a test can ask from inside a synchronous call: how many credentials of this task are
// committed, and how many decisions say so? Prints both.
const [url, taskId] = process.argv.slice(2)
const client = new pg.Client({ connectionString: url as string })
await client.connect()
const { rows } = await client.query<{ credentials: number; decisions: number }>(
  `SELECT (SELECT count(*)::int FROM credentials WHERE task_id = $1) AS credentials,
    (SELECT count(*)::int FROM decisions JOIN credentials USING (jti) WHERE decisions.task_id = $1
      AND action = 'mint' AND decision = 'allow') AS decisions`,
  [taskId],
)
process.stdout.write(JSON.stringify(rows[0]))
await client.end()
