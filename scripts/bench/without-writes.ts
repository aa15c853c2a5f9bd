import { registerHooks } from 'node:module'

// With `node --import`: the broker as it is, but for the one module that writes reservations. Tasks are then found in memory after
// their first mint, and a mint is verified, decided and signed, and nothing more. This exists in the bench alone.

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context)
    if (!resolved.url.endsWith('/src/store/reserve.ts')) return resolved
    return { ...resolved, url: new URL('reserve-nothing.ts', import.meta.url).href }
  },
})
