import { trustNameFault } from '../config/values.ts'
import { parseSpiffeId } from './spiffe-id.ts'

/** Whether a trust source could prove a principal of that ID: `<trust name>:<sub>`, or a workload's SPIFFE ID (contract §2). */
export function isPrincipalId(text: string): boolean {
  if (parseSpiffeId(text) !== null) return true
  const name = /^([^:]*):./s.exec(text)?.[1]
  return name !== undefined && trustNameFault(name) === null
}
