/** What credentials can be signed with; RS256 for those who accept nothing else. */
export const signingAlgs = ['ES256', 'ES384', 'RS256', 'PS256', 'EdDSA'] as const
