import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { act, claimsOf, isActive, mint, opened, patchContext, pick, type Scene } from './scene.ts'

export type End = 'close' | 'suspend' | 'context'

/**
 * Lets the database itself watch: at the commit of each credential, after a moment in which an end could slip in, the task and all above
 * it must be open in the versions that the credential names; at the commit of each child all above it must be open. What is not
 * goes into `violations`, and stays.
 */
export async function watchCredentials({ broker }: Scene): Promise<void> {
  await broker.sql('CREATE TABLE violations (id uuid, task_id uuid, state text, ver integer)')
  await broker.sql(`CREATE FUNCTION watch_credential() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_sleep(random() * 0.001);
      INSERT INTO violations SELECT NEW.jti, t.id, t.state, t.ver FROM tasks own
        CROSS JOIN unnest(own.path || own.id, NEW.path_vers || NEW.task_ver) AS named (id, ver) LEFT JOIN tasks t ON t.id = named.id
        WHERE own.id = NEW.task_id AND (t.state = 'open' AND t.ver = named.ver) IS NOT TRUE;
      RETURN NULL;
    END $$`)
  await broker.sql(`CREATE CONSTRAINT TRIGGER watch_credential AFTER INSERT ON credentials
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch_credential()`)
  await broker.sql(`CREATE FUNCTION watch_child() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_sleep(random() * 0.001);
      INSERT INTO violations SELECT NEW.id, t.id, t.state, t.ver FROM tasks t WHERE t.id = ANY (NEW.path) AND t.state <> 'open';
      RETURN NULL;
    END $$`)
  await broker.sql(`CREATE CONSTRAINT TRIGGER watch_child AFTER INSERT ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch_child()`)
}

const codeAfter = { close: 'task_closed', suspend: 'task_suspended' } as const

/**
 * One race of mints against the end of their task, over all replicas. What must hold from the moment that the end was answered
 * is checked here. Answers how many tokens were handed out before and refused after.
 */
export async function raceRound(
  scene: Scene,
  { end, mints }: { end: End; mints: number },
): Promise<{ handedOut: number; refused: number }> {
  const { broker, replicas } = scene
  const owner = scene.agent('racer')
  const task = await opened(broker, owner, { context: { ticket: '1' }, bind: ['ticket'] })
  const rows = async () =>
    (
      await broker.sql<{ n: number }>(
        'SELECT count(*)::int AS n FROM credentials WHERE task_id = $1 AND task_ver = 1',
        [task.id],
      )
    )[0]?.n

  /** Spread over so many milliseconds. */
  const launch = (count: number, spread: number) =>
    Array.from({ length: count }, async (_, i) => {
      if (spread > 0) await sleep(Math.random() * spread)
      return mint(replicas[i % replicas.length] as typeof broker, owner, { task_id: task.id })
    })
  const flights = launch(Math.ceil(mints / 2), 0)
  // Anywhere between before the first answer and after the last.
  await Promise.race([pick(flights), new Promise(resolve => setTimeout(resolve, Math.random() * 20))])
  const ending =
    end === 'context'
      ? patchContext(pick(replicas), owner, task.id, { ticket: '2' })
      : act(pick(replicas), owner, task.id, end)
  // The other half comes while the end is under way, however quick either is.
  flights.push(...launch(Math.floor(mints / 2), 30))
  const ended = await ending
  expect(ended.status, JSON.stringify(ended.body)).toBe(200)
  const committed = await rows()

  const late = await mint(pick(replicas), owner, { task_id: task.id })
  const answers = await Promise.all(flights)
  const tokens = answers.filter(({ status }) => status === 200).map(({ body }) => body.access_token)
  const refusals = answers.filter(({ status }) => status !== 200).map(({ body }) => body.code)

  // No reservation commits after the end has.
  expect(await rows()).toBe(committed)
  expect(await broker.sql('SELECT * FROM violations')).toEqual([])
  if (end === 'context') {
    // The task is open, and mints again, in the new version.
    expect(refusals).toEqual([])
    expect(claimsOf(late.body.access_token).task_ver).toBe(2)
  } else {
    expect(new Set([late.body.code, ...refusals])).toEqual(new Set([codeAfter[end]]))
  }

  // Whatever was handed out is dead, on every replica.
  const service = scene.agent('service')
  const dead = tokens.filter(token => claimsOf(token).task_ver === 1)
  const live = tokens.filter(token => claimsOf(token).task_ver !== 1)
  for (const replica of replicas) {
    const answersOf = (list: string[]) => Promise.all(list.map(token => isActive(replica, service, token)))
    expect(new Set(await answersOf(dead))).toEqual(new Set(dead.length > 0 ? [false] : []))
    expect(new Set(await answersOf(live))).toEqual(new Set(live.length > 0 ? [true] : []))
  }
  // And the record has it, once.
  expect(await broker.sql('SELECT state, ver FROM revocations WHERE task_id = $1', [task.id])).toEqual([
    {
      state: end === 'context' ? 'open' : end === 'close' ? 'closed' : 'suspended',
      ver: end === 'context' ? 2 : 1,
    },
  ])
  return { handedOut: dead.length, refused: mints - dead.length }
}
