import { gunzipSync, inflateSync } from 'node:zlib'
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose'
import { Client } from 'undici'
import { agentMints, inTurns, mint, openAgents } from '../callers.ts'
import { cpuOf } from '../cpu.ts'
import { type Figure, milliseconds } from '../report.ts'
import { type Spread, spreadOf } from '../statistics.ts'
import { moment } from '../work.ts'
import { brokerIssuer, type World } from '../world.ts'
import { createCloser } from './closer.ts'
import { fillList } from './list-rows.ts'

const credentials = 1_000_000
const ended = credentials / 100
const size = 2 ** 20

/** A credential that the broker minted itself. */
interface Minted {
  taskId: string
  /** The path of the owner's SPIFFE ID. */
  owner: string
  uri: string
  idx: number
}

/** Gets a list of a million: from brokers that have just started, and then each time after something in it has ended. */
export async function statusList(world: World): Promise<Figure[]> {
  const database = await world.createDatabase()
  const minting = await world.startBroker(database)
  const minted = await mintInOneList(world, minting.url, world.quick ? 8 : 40)
  const [{ uri, taskId }] = minted as [Minted, ...Minted[]]
  const id = uri.slice(uri.lastIndexOf('/') + 1)
  await fillList(database, { id, size, task: taskId }, { credentials, ended })
  await database.settle()
  await minting.stop()

  const first: number[] = []
  for (let n = 0; n < (world.quick ? 1 : 5); n++) {
    const broker = await world.startBroker(database)
    const lists = await openLists(broker.url, id)
    const { took, statuses } = await lists.get('gzip')
    mustHaveEnded(statuses, ended, [])
    first.push(took)
    await lists.close()
    await broker.stop()
  }

  const broker = await world.startBroker(database)
  const lists = await openLists(broker.url, id)
  const closer = createCloser(world, broker.url)
  const plain = await lists.get('identity')
  const changed: Fetched[] = []
  const again: number[] = []
  const closed: number[] = []
  let cpu = 0
  for (const { taskId, owner, idx } of minted) {
    await closer.close(taskId, owner)
    closed.push(idx)
    const before = cpuOf(broker.pid)
    const list = await lists.get('gzip')
    cpu += cpuOf(broker.pid) - before
    mustHaveEnded(list.statuses, ended + closed.length, closed)
    changed.push(list)
    again.push((await lists.get('gzip')).took)
  }
  await lists.close()
  await closer.end()

  const took = spreadOf(changed.map(list => list.took))
  const told = ({ median, least, most }: Spread) =>
    `p50 ${milliseconds(median)} (${milliseconds(least)} to ${milliseconds(most)})`
  const kilobytes = (bytes: number) => `${(bytes / 1_000).toFixed(1)} kB`
  return [
    {
      what: 'A status list of 1,000,000 credentials, 1 in 100 ended: brought up to date, signed and served, each time after one more end',
      measured:
        `${told(took)}, ${changed.length} times; ${kilobytes(changed.at(-1)?.bytes ?? Number.NaN)} in gzip, ` +
        `${kilobytes(plain.bytes)} plain; broker's CPU ${milliseconds((cpu / changed.length) * 1_000)} each; ` +
        `asked again within a second: p50 ${milliseconds(spreadOf(again).median)}`,
      limits: [{ of: 'p50', ms: took.median, most: 50 }],
    },
    {
      what: 'The same list, the first time that a broker is asked for it after its start',
      measured: `${told(spreadOf(first))}, ${first.length} starts`,
    },
  ]
}

/** Agents' tasks with a credential each, all in the list that the broker has just made. */
async function mintInOneList(world: World, url: string, count: number): Promise<Minted[]> {
  const agents = await openAgents(world, url, count)
  const tokens = await inTurns(agentMints(agents), request => mint(url, request))
  const minted = tokens.map((token, n) => {
    const { status } = decodeJwt<{ status: { status_list: { uri: string; idx: number } } }>(token)
    return { taskId: agents[n]!.taskId, owner: `/agent/${n}`, ...status.status_list }
  })
  if (new Set(minted.map(({ uri }) => uri)).size !== 1) throw new Error('the credentials are not in one list')
  return minted
}

interface Fetched {
  /** Milliseconds to the last byte. */
  took: number
  /** As they came. */
  bytes: number
  /** Two bits each, verified and inflated. */
  statuses: Uint8Array
}

/** A reader of one list with a connection that is open beforehand. */
async function openLists(origin: string, id: string) {
  const client = new Client(origin, { pipelining: 1 })
  const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', origin))
  const request = async (path: string, encoding: string) => {
    const { statusCode, headers, body } = await client.request({
      method: 'GET',
      path,
      headers: { 'accept-encoding': encoding },
    })
    const bytes = Buffer.from(await body.arrayBuffer())
    if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${bytes}`)
    return { headers, bytes }
  }
  await request('/healthz', 'identity')
  return {
    async get(encoding: 'gzip' | 'identity'): Promise<Fetched> {
      const from = moment()
      const { headers, bytes } = await request(`/status-lists/${id}`, encoding)
      const took = moment() - from
      if ((headers['content-encoding'] ?? 'identity') !== encoding) throw new Error('another encoding')
      const jwt = encoding === 'gzip' ? gunzipSync(bytes) : bytes
      const { payload } = await jwtVerify<{ status_list: { bits: number; lst: string } }>(jwt, keys, {
        typ: 'statuslist+jwt',
        issuer: brokerIssuer,
        subject: `${brokerIssuer}/status-lists/${id}`,
        requiredClaims: ['iat', 'exp', 'ttl'],
      })
      if (payload.status_list.bits !== 2) throw new Error('not two bits a credential')
      const statuses = inflateSync(Buffer.from(payload.status_list.lst, 'base64url'))
      return { took, bytes: bytes.length, statuses }
    },
    close: () => client.close(),
  }
}

/** Throws unless so many credentials of the list are invalid, those at these places among them, and all others valid. */
function mustHaveEnded(statuses: Uint8Array, count: number, places: number[]): void {
  const at = (idx: number): number => ((statuses[idx >>> 2] as number) >>> ((idx & 3) * 2)) & 3
  let invalid = 0
  for (let idx = 0; idx < size; idx++) {
    if (at(idx) > 1) throw new Error(`a status is ${at(idx)}`)
    invalid += at(idx)
  }
  if (statuses.length !== size / 4 || invalid !== count || places.some(idx => at(idx) !== 1))
    throw new Error(`${invalid} credentials of the list are invalid, not ${count}`)
}
