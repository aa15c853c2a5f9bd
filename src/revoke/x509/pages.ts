import type { Entry } from './entry.ts'
import { crlReasons } from './reasons.ts'

/** The entries of an authority, in pages, so that what has not changed since the last CRL is not put together again. */
export interface Pages {
  put(jti: string, entry: Entry): void
  remove(jti: string): void
  /** DER of the entries that stand in a complete CRL, a page at a time. */
  complete(): Iterable<Buffer>
}

interface Page {
  entries: Map<string, Entry>
  /** null where an entry has changed. */
  complete: Buffer | null
}

/** Entries of a page: put together in a fraction of a millisecond. */
const pageMost = 1_024

export function entryPages(): Pages {
  const pages = new Set<Page>()
  const pageOf = new Map<string, Page>()
  let last: Page | null = null

  function pageWithRoom(): Page {
    if (last && pages.has(last) && last.entries.size < pageMost) return last
    last = { entries: new Map(), complete: null }
    pages.add(last)
    return last
  }

  return {
    put(jti, entry) {
      const page = pageOf.get(jti) ?? pageWithRoom()
      pageOf.set(jti, page)
      page.entries.set(jti, entry)
      page.complete = null
    },
    remove(jti) {
      const page = pageOf.get(jti)
      if (!page) return
      pageOf.delete(jti)
      page.entries.delete(jti)
      page.complete = null
      if (page.entries.size === 0) pages.delete(page)
    },
    *complete() {
      for (const page of pages) {
        page.complete ??= together(page)
        yield page.complete
      }
    },
  }
}

function together({ entries }: Page): Buffer {
  const parts: Buffer[] = []
  for (const { der, reason } of entries.values()) if (reason !== crlReasons.removeFromCrl) parts.push(der)
  return Buffer.concat(parts)
}
