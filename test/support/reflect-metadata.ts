/**
 * What `tsyringe`, on which `@peculiar/x509` is built, wants of `Reflect` before it loads: notes on classes. The library leaves it to whoever
 * uses it to bring a package for that; it needs no more than this.
 */
const notes = new WeakMap<object, Map<unknown, unknown>>()

const get = (key: unknown, target: object): unknown => notes.get(target)?.get(key)

Object.assign(Reflect, {
  getMetadata: get,
  getOwnMetadata: get,
  defineMetadata(key: unknown, value: unknown, target: object) {
    notes.set(target, (notes.get(target) ?? new Map()).set(key, value))
  },
})
