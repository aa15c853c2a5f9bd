import type { reserver as real } from '../../src/store/reserve.ts'

/** In place of `src/store/reserve.ts`: grants, and writes nothing. */
export const reserver: typeof real = () => async () => 'reserved'
