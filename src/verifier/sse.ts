/** One event of an event stream. */
export interface ServerEvent {
  type: string
  data: string
  /** Set where the event itself names one; an earlier event's is not carried over. */
  id: string | undefined
}

export interface EventParser {
  /** Milliseconds after which the server wants to be asked again, where it has said so. */
  retry(): number | null
  /**
   * Takes the next bytes, however they were cut, and gives the events that they complete.
   *
   * @throws RangeError when an event is larger than allowed
   */
  push(chunk: Uint8Array): ServerEvent[]
}

/**
 * Parses an event stream (WHATWG HTML §9.2.6): lines end with LF, CR or CRLF, wherever the bytes are cut; an event ends with an empty line,
 * and what comes after the last one is no event yet.
 *
 * @param maxSize characters that one event may have, comments and field names included
 */
export function createEventParser(maxSize: number): EventParser {
  const decoder = new TextDecoder()
  let line = ''
  let afterReturn = false
  let size = 0
  let type = ''
  let data: string[] = []
  let id: string | undefined
  let retry: number | null = null

  function push(chunk: Uint8Array): ServerEvent[] {
    const events: ServerEvent[] = []
    const text = decoder.decode(chunk, { stream: true })
    let start = 0
    if (afterReturn && text.length > 0) {
      if (text[0] === '\n') start = 1
      afterReturn = false
    }
    const ends = /\r\n?|\n/g
    ends.lastIndex = start
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      grow(text.slice(start, end.index))
      start = ends.lastIndex
      afterReturn = end[0] === '\r' && start === text.length
      endLine(events)
    }
    grow(text.slice(start))
    return events
  }

  function grow(part: string): void {
    size += part.length
    if (size > maxSize) throw new RangeError('An event of the feed is too large.')
    line += part
  }

  function endLine(events: ServerEvent[]): void {
    const ended = line
    line = ''
    if (ended !== '') {
      field(ended)
      return
    }
    if (data.length > 0) events.push({ type: type || 'message', data: data.join('\n'), id })
    type = ''
    data = []
    id = undefined
    size = 0
  }

  function field(text: string): void {
    const colon = text.indexOf(':')
    // A comment: servers send them to keep connections open.
    if (colon === 0) return
    const name = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (name === 'event') type = value
    else if (name === 'data') data.push(value)
    else if (name === 'id' && !value.includes('\0')) id = value
    else if (name === 'retry' && /^\d{1,9}$/.test(value)) retry = Number(value)
  }

  return { push, retry: () => retry }
}
