import { percentile } from '../statistics.ts'

/** What is drawn: how many had learned of an end, by when. */
export interface Drawing {
  curves: Curve[]
  caption: string
}

export interface Curve {
  name: string
  /** Milliseconds, ascending. */
  sorted: Float64Array
}

const width = 800
const height = 420
const plot = { left: 64, right: 752, top: 84, bottom: 344 }
/** Milliseconds at the ends of the axis, which is logarithmic: what is less or more is drawn at its ends. */
const least = 0.1
const most = 1_000

const xOf = (ms: number): number => {
  const part = Math.log10(Math.min(Math.max(ms, least), most) / least) / Math.log10(most / least)
  return plot.left + part * (plot.right - plot.left)
}
const yOf = (part: number): number => plot.bottom - part * (plot.bottom - plot.top)
const msAt = (x: number): number => least * (most / least) ** ((x - plot.left) / (plot.right - plot.left))

/**
 * Cumulative distributions on a logarithmic axis, as an SVG that needs nothing from anywhere, readable where pages are light and where
 * they are dark. The same distributions give the same bytes.
 */
export const drawLatencies = ({ curves, caption }: Drawing): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title desc">
<title id="title">From the 200 of a close to those who learn of it</title>
<desc id="desc">${escaped(curves.map(described).join('; '))}. ${escaped(caption)}.</desc>
<style>
  svg { font-family: system-ui, sans-serif; font-size: 13px }
  .paper { fill: #ffffff } text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 } .minor { stroke: #eaeef2 }
  .curve { fill: none; stroke-width: 2.5 } .c0 { stroke: #0969da } .c1 { stroke: #bc4c00; stroke-dasharray: 7 3 }
  .p0 { fill: #0969da } .p1 { fill: #bc4c00 } .title { font-size: 16px; font-weight: 600 } .mark { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #3d444d } .minor { stroke: #21262d }
    .c0 { stroke: #58a6ff } .c1 { stroke: #f0883e } .p0 { fill: #58a6ff } .p1 { fill: #f0883e }
  }
</style>
<rect class="paper" width="${width}" height="${height}" rx="6"/>
<text class="title" x="${plot.left}" y="30">From the 200 of a close to those who learn of it</text>
${[...axes(), ...legend(curves), ...curves.map(line), ...marks(curves, 0.5), ...marks(curves, 0.99)].join('\n')}
<text class="faint" x="${plot.left}" y="${height - 16}">${escaped(caption)}</text>
</svg>
`

function axes(): string[] {
  const lines: string[] = []
  for (let decade = least; decade < most; decade *= 10)
    for (const step of [2, 5]) lines.push(vertical('minor', decade * step))
  for (let decade = least; decade <= most * 1.001; decade *= 10) {
    lines.push(vertical('grid', decade))
    lines.push(
      label(
        xOf(decade),
        plot.bottom + 20,
        'middle',
        `${Number(decade.toPrecision(1)).toLocaleString('en')} ms`,
      ),
    )
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const y = yOf(part).toFixed(1)
    lines.push(`<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${y}" y2="${y}"/>`)
    lines.push(label(plot.left - 8, yOf(part) + 4, 'end', `${part * 100} %`))
  }
  return lines
}

const vertical = (name: string, ms: number): string =>
  `<line class="${name}" x1="${xOf(ms).toFixed(1)}" x2="${xOf(ms).toFixed(1)}" y1="${plot.top}" y2="${plot.bottom}"/>`

const label = (x: number, y: number, anchor: string, text: string, name = 'faint'): string =>
  `<text class="${name}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped(text)}</text>`

const legend = (curves: Curve[]): string[] =>
  curves.flatMap((curve, n) => {
    const x = plot.left + (n * (plot.right - plot.left)) / 2
    return [
      `<path class="curve c${n}" d="M${x} 56h28"/>`,
      `<text x="${x + 36}" y="60">${escaped(curve.name)}</text>`,
    ]
  })

/** How many had learned by then, at every second unit of the axis. */
function line({ sorted }: Curve, n: number): string {
  const points: string[] = []
  let counted = 0
  for (let x = plot.left; x <= plot.right; x += 2) {
    while (counted < sorted.length && (x >= plot.right || (sorted[counted] as number) <= msAt(x))) counted++
    points.push(`${x} ${yOf(counted / sorted.length).toFixed(1)}`)
  }
  return `<path class="curve c${n}" d="M${points.join('L')}"/>`
}

/** A percentile of each curve, named where there is room: of the quickest to the left, of the others to the right. */
function marks(curves: Curve[], part: number): string[] {
  const quickest = Math.min(...curves.map(({ sorted }) => percentile(sorted, part)))
  return curves.flatMap(({ sorted }, n) => {
    const ms = percentile(sorted, part)
    const [x, y] = [xOf(ms), yOf(part)]
    const isLeft = ms === quickest && x > plot.left + 90
    return [
      `<circle class="p${n}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="4.5"/>`,
      label(
        isLeft ? x - 10 : x + 10,
        isLeft ? y - 6 : y + 16,
        isLeft ? 'end' : 'start',
        `p${part * 100} ${shown(ms)}`,
        'mark',
      ),
    ]
  })
}

const described = ({ name, sorted }: Curve): string =>
  `${name}: p50 ${shown(percentile(sorted, 0.5))}, p99 ${shown(percentile(sorted, 0.99))}`

const shown = (ms: number): string => `${ms.toFixed(ms < 10 ? 1 : 0)} ms`

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
