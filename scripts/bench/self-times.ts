/** A V8 CPU profile, as far as it is read here (Chrome DevTools Protocol, `Profiler.Profile`). Microseconds. */
export interface CpuProfile {
  startTime: number
  nodes: {
    id: number
    callFrame: { functionName: string; url: string; lineNumber: number }
    children?: number[]
  }[]
  samples: number[]
  timeDeltas: number[]
}

/** What one function cost by itself, whatever it called left out. */
export interface SelfTime {
  function: string
  group: string
  /** The function of ours that called for it, through whatever libraries; null where there is none. */
  askedBy: string | null
  microseconds: number
}

/** Self times between two moments, the most costly first; waiting is left out. */
export function selfTimes(
  { startTime, nodes, samples, timeDeltas }: CpuProfile,
  window: [number, number],
): SelfTime[] {
  const names = namesOf(nodes)
  const found = new Map<Name, SelfTime>()
  let at = startTime
  for (const [index, id] of samples.entries()) {
    at += timeDeltas[index] ?? 0
    const name = names.get(id)
    if (at < window[0] || at > window[1] || !name || name.function === '(idle)') continue
    const time = found.get(name) ?? { ...name, microseconds: 0 }
    // A sample stands for the time until the next one.
    time.microseconds += timeDeltas[index + 1] ?? 0
    found.set(name, time)
  }
  return [...found.values()]
}

/** Sums by what `by` says of each, the largest first. */
export function summed(times: SelfTime[], by: (time: SelfTime) => string): [string, number][] {
  const sums = new Map<string, number>()
  for (const time of times) sums.set(by(time), (sums.get(by(time)) ?? 0) + time.microseconds)
  return [...sums].sort(([, a], [, b]) => b - a)
}

type Name = Omit<SelfTime, 'microseconds'>

/** Native functions have no place in any file: they count to whoever called them. */
function namesOf(nodes: CpuProfile['nodes']): Map<number, Name> {
  const byId = new Map(nodes.map(node => [node.id, node]))
  const names = new Map<number, Name>()
  const name = (id: number, caller: Name | null): void => {
    const node = byId.get(id)
    if (!node) return
    const own = nameOf(node.callFrame, caller)
    names.set(id, own)
    for (const child of node.children ?? []) name(child, own)
  }
  const [root] = nodes
  if (root) name(root.id, null)
  return names
}

function nameOf(
  { functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame'],
  caller: Name | null,
): Name {
  const askedBy = caller?.askedBy ?? null
  if (url === '' && !/^(\(|wasm)/.test(functionName))
    return {
      function: `${functionName} of ${caller?.function ?? '?'}`,
      group: caller?.group ?? 'node',
      askedBy,
    }
  const title = `${functionName || '(anonymous)'} ${placeOf(url, lineNumber)}`.trim()
  const group = groupOf(url, functionName)
  return { function: title, group, askedBy: group.startsWith('ours') ? title : askedBy }
}

const placeOf = (url: string, line: number): string =>
  url === ''
    ? ''
    : `${url.replace(/^file:\/\/.*?\/(node_modules|src)\//, '$1/').replace('node_modules/', '')}:${line + 1}`

const packages: [RegExp, string][] = [
  [/^wasm|cedar-wasm/, 'cedar'],
  [/node_modules\/(pg|pg-.*?|postgres-.*?|kysely)\//, 'pg'],
  [
    /node_modules\/(express|router|body-parser|raw-body|finalhandler|send|on-finished|iconv-lite|content-type|type-is|media-typer|qs|accepts|negotiator|fresh|etag|vary|bytes|mime-.*?|parseurl|proxy-addr|ipaddr\.js|forwarded|http-errors|depd|ee-first)\//,
    'express',
  ],
  [/node_modules\/jose\//, 'jose'],
  [/node_modules\/prom-client\//, 'metrics'],
  [/node_modules\//, 'other packages'],
  [/^node:(internal\/)?crypto/, 'crypto'],
  [
    /^node:(_http|internal\/http|http|net|internal\/net|internal\/stream|stream|internal\/js_stream|internal\/dtrace)/,
    'http, sockets, streams',
  ],
  [/^node:/, 'node'],
  [/\/src\/attest\//, 'ours: attest'],
  [/\/src\/decide\//, 'ours: decide'],
  [/\/src\/http\//, 'ours: http'],
  [/\/src\/store\//, 'ours: store'],
  [/\/src\//, 'ours: the rest'],
]

const groupOf = (url: string, name: string): string => {
  if (name === '(garbage collector)') return 'garbage collection'
  if (name === '(program)') return 'native, not told apart'
  return packages.find(([pattern]) => pattern.test(url === '' ? name : url))?.[1] ?? 'other'
}
