/** Authorities whose events the broker can read. */
export const hookKinds = ['github', 'gitlab', 'kubernetes', 'generic'] as const
