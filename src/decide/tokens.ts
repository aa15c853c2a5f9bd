/** Strings and comments of Cedar's grammar, operators that nest, brackets, and everything else. */
const token = /"(?:\\.|[^"\\])*"|\/\/[^\n\r]*|&&|\|\||!=|[A-Za-z_]\w*|[\s\S]/g

const open = new Set(['(', '[', '{'])
const close = new Set([')', ']', '}'])
// The clauses of a policy become one chain of `&&`.
const nests = new Set(['&&', '||', '!', '+', '-', '*', 'if', 'when', 'unless'])

/** What Cedar's parser and evaluator need of their stack, counted in links of a chain such as `a && b && c`. */
const bracketWeight = 3.5

/** The parser dies near 360 (seen in 4.13); half of it leaves room for the callers' own stack. */
export const maxDepth = 160

/**
 * How deep the deepest expression nests, from its tokens alone. Cedar in WebAssembly has a small stack, and a policy that
 * overflows it takes the whole engine down with it, the policies in force included: this is asked before it sees a text.
 */
export function depthOf(text: string): number {
  interface Group {
    operators: number
    dots: number
    longestDots: number
    deepestChild: number
    deepest: number
  }
  const group = (): Group => ({ operators: 0, dots: 0, longestDots: 0, deepestChild: 0, deepest: 0 })
  const endSegment = (g: Group): void => {
    g.deepest = Math.max(g.deepest, g.operators + g.longestDots + g.deepestChild)
    g.operators = g.dots = g.longestDots = g.deepestChild = 0
  }
  const countDot = (g: Group): void => {
    g.dots += 1
    g.longestDots = Math.max(g.longestDots, g.dots)
  }
  const stack: Group[] = [group()]
  for (const [word] of text.matchAll(token)) {
    const top = stack[stack.length - 1]!
    if (open.has(word)) {
      // `a["b"]` is a link of a chain, as `a.b` is.
      if (word === '[') countDot(top)
      stack.push(group())
    } else if (close.has(word) && stack.length > 1) {
      endSegment(top)
      stack.pop()
      const parent = stack[stack.length - 1]!
      parent.deepestChild = Math.max(parent.deepestChild, bracketWeight + top.deepest)
    } else if (word === ',' || word === ';') {
      endSegment(top)
    } else if (nests.has(word)) {
      top.operators += 1
      top.dots = 0
    } else if (word === '.') {
      countDot(top)
    }
  }
  // What is left open counts too: the parser descends into it before it notices.
  let depth = 0
  while (stack.length > 0) {
    const top = stack.pop()!
    top.deepestChild = Math.max(top.deepestChild, depth)
    endSegment(top)
    depth = top.deepest + bracketWeight
  }
  return depth - bracketWeight
}

/** The text with its comments blanked out, every other character where it was. */
export const withoutComments = (text: string): string =>
  text.replace(token, word => (word.startsWith('//') ? ' '.repeat(word.length) : word))
