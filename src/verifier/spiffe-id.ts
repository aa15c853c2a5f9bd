const syntax = /^spiffe:\/\/[a-z0-9._-]{1,255}(\/[A-Za-z0-9._-]+)+$/
/** Neither `.` nor `..` is a segment. */
const dots = /\/\.\.?(\/|$)/

/** A SPIFFE ID with a path, in its one canonical spelling (SPIFFE ID §2). */
export const isSpiffeId = (text: string): boolean =>
  text.length <= 2048 && syntax.test(text) && !dots.test(text)
