/** scope = scope-token *( SP scope-token ) (RFC 6749 §3.3): neither quotation marks nor backslashes. */
const syntax = /^[!#-[\]-~]+( [!#-[\]-~]+)*$/

/** Whether it is one scope. */
export const isScope = (text: string): boolean => syntax.test(text) && !text.includes(' ')

/**
 * The scopes that a route needs, of which a credential must have each.
 *
 * @throws TypeError when it is not a list of scopes separated by single spaces
 */
export function requiredScopes(scope: string | undefined): readonly string[] {
  if (scope === undefined) return []
  if (typeof scope !== 'string' || !syntax.test(scope))
    throw new TypeError('`scope` must be scopes separated by single spaces.')
  return scope.split(' ')
}

/** Scopes are compared exactly (contract §7): `deploy` does not hold `deploy:prod`. */
export function holds(claim: string | undefined, required: readonly string[]): boolean {
  const held = ` ${claim ?? ''} `
  return required.every(scope => held.includes(` ${scope} `))
}
