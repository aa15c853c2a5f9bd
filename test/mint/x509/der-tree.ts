import { listIn, readOne } from '../../../src/der/read.ts'
import { element } from '../../../src/der/write.ts'

/** An element and what is in it. */
export interface Tree {
  tag: number
  content: Buffer
  children: Tree[] | null
}

export function treeOf(bytes: Buffer): Tree {
  const { tag, content } = readOne(bytes, bytes[0] as number)
  const children =
    tag & 0x20
      ? listIn({ tag, content, bytes }, Number.POSITIVE_INFINITY).map(({ bytes }) => treeOf(bytes))
      : null
  return { tag, content, children }
}

export const nodesOf = (tree: Tree): Tree[] => [tree, ...(tree.children ?? []).flatMap(nodesOf)]

/** Writes a tree as DER, but for one element, which `trick` writes. */
export function written(
  tree: Tree,
  target: Tree | null,
  trick: (tag: number, content: Buffer) => Buffer,
): Buffer {
  const content = tree.children
    ? Buffer.concat(tree.children.map(child => written(child, target, trick)))
    : tree.content
  return tree === target ? trick(tree.tag, content) : element(tree.tag, content)
}

/** Ways to write an element that BER allows (X.690 §8.1.3, §8.7.3) or nobody does, none of which is DER. */
export const tricks: Record<string, (tag: number, content: Buffer) => Buffer | null> = {
  'a length longer than it need be': (tag, content) =>
    Buffer.concat([Buffer.of(tag, 0x83, 0, content.length >> 8, content.length & 0xff), content]),
  'an indefinite length': (tag, content) =>
    Buffer.concat([
      Buffer.of(tag | 0x20, 0x80),
      tag & 0x20 ? content : element(tag, content),
      Buffer.of(0, 0),
    ]),
  'a string in pieces': (tag, content) => (tag & 0x20 ? null : element(tag | 0x20, element(tag, content))),
  'an integer longer than it need be': (tag, content) =>
    tag === 2 ? element(tag, Buffer.of((content[0] as number) < 0x80 ? 0 : 0xff), content) : null,
  'an element more': (tag, content) => (tag & 0x20 ? element(tag, content, Buffer.of(5, 0)) : null),
  'a byte more': (tag, content) => (tag & 0x20 ? element(tag, content, Buffer.of(0)) : null),
  'a length beyond the end': (tag, content) =>
    Buffer.concat([Buffer.of(tag, 0x82, (content.length + 0x4000) >> 8, content.length & 0xff), content]),
  // A string may be anything: what it is depends on what nobody reads.
  'another tag': (tag, content) => (tag === 0x0c ? null : element(tag ^ 0x40, content)),
  'a tag in its long form': (tag, content) =>
    Buffer.concat([Buffer.of(tag | 0x1f, tag & 0x1f), element(0, content).subarray(1)]),
}
