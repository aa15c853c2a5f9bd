import { at } from '../../json-path.ts'
import type { JsonObject, JsonValue } from '../../strict-json.ts'

/** What of a pod or a job a hook's `ref` can be made of. The rest stays in the cluster: specs have secrets in their environment. */
export function trimmed(object: JsonObject): JsonObject {
  const { apiVersion = null, kind = null } = object
  return {
    apiVersion,
    kind,
    metadata: part(object, 'metadata', ['name', 'namespace', 'uid', 'labels'], {
      ownerReferences: listOf(object, 'metadata.ownerReferences', ['kind', 'name', 'uid']),
    }),
    spec: part(object, 'spec', ['serviceAccountName', 'nodeName'], {
      template: { spec: part(object, 'spec.template.spec', ['serviceAccountName']) },
    }),
    status: part(object, 'status', ['phase'], {
      conditions: listOf(object, 'status.conditions', ['type', 'status']),
    }),
  }
}

function part(
  value: JsonValue,
  path: string,
  names: string[],
  more: Record<string, JsonValue> = {},
): JsonObject {
  const members = names.flatMap((name): [string, JsonValue][] => {
    const member = at(value, path === '' ? name : `${path}.${name}`)
    return member === undefined ? [] : [[name, member]]
  })
  return { ...Object.fromEntries(members), ...more }
}

function listOf(object: JsonObject, path: string, names: string[]): JsonValue[] {
  const list = at(object, path)
  return (Array.isArray(list) ? list : []).map(item => part(item, '', names))
}
