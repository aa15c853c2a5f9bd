import { z } from 'zod'

/**
 * A mapping with these keys and no others. For an unknown key the issue's message is the list of known ones, from which
 * shape.ts picks the nearest.
 */
export const section = <Shape extends z.core.$ZodShape>(shape: Shape) =>
  z.strictObject(shape, {
    error: issue => (issue.code === 'unrecognized_keys' ? Object.keys(shape).join(' ') : undefined),
  })
