import type { KeyObject } from 'node:crypto'
export const makePkcs12 = (_: object): Promise<Buffer> => Promise.reject(new Error('not yet'))
export const mustBePassword = (_: string): void => {}
export const newLegacyKey = (): Promise<{ privateKey: KeyObject; spki: Buffer }> =>
  Promise.reject(new Error('not yet'))
