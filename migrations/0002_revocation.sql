-- Task trees, blocks, withdrawn keys, status lists, ends that come before their task.

ALTER TABLE tasks
  ADD COLUMN parent_id uuid,
  -- The top of its tree, itself where it has no parent. Whoever changes anything of a tree locks this row first.
  ADD COLUMN root_id uuid,
  -- Its ancestors, root first.
  ADD COLUMN path uuid[] NOT NULL DEFAULT '{}';
UPDATE tasks SET root_id = id;
ALTER TABLE tasks
  ALTER COLUMN root_id SET NOT NULL,
  ADD CONSTRAINT tasks_tree CHECK (
    CASE WHEN parent_id IS NULL THEN path = '{}' AND root_id = id
      ELSE path[1] = root_id AND path[cardinality(path)] = parent_id END
  );
CREATE INDEX tasks_parent ON tasks (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX tasks_descendants ON tasks (root_id) WHERE parent_id IS NOT NULL AND state <> 'closed';

-- The end of a name that no task ever had: an authority reported it first.
ALTER TABLE task_names
  ALTER COLUMN task_id DROP NOT NULL,
  ADD COLUMN ended_at timestamptz,
  ADD CONSTRAINT task_names_ended CHECK ((task_id IS NULL) = (ended_at IS NOT NULL));
CREATE INDEX task_names_ended_at ON task_names (ended_at) WHERE ended_at IS NOT NULL;

ALTER TABLE credentials
  -- `ver` of each ancestor of its task, root first, as it was minted; null where the task has none.
  ADD COLUMN path_vers integer[],
  -- Its place in the Token Status List; null for what was minted before there were any.
  ADD COLUMN status_list uuid,
  ADD COLUMN status_idx integer;

-- A list belongs to the one process that made it, which gives each index once.
CREATE TABLE status_lists (
  id uuid PRIMARY KEY,
  -- The key that signs every credential in it: a key that is withdrawn kills whole lists.
  kid text NOT NULL,
  size integer NOT NULL,
  opened_at timestamptz NOT NULL,
  -- No credential in it lives longer; then the list is dropped.
  ends_at timestamptz NOT NULL
);
CREATE INDEX status_lists_ends ON status_lists (ends_at);

ALTER TABLE signing_keys ADD COLUMN withdrawn_at timestamptz;

-- Who gets nothing new. Each row is one order; what it ended is in the revocation record.
CREATE TABLE blocks (
  id uuid PRIMARY KEY,
  principal text,
  trust text,
  everything boolean NOT NULL,
  reason text,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  -- null: until it is lifted.
  until timestamptz,
  CHECK (num_nonnulls(principal, trust) + everything::integer = 1)
);
-- Grows with every change of the blocks. Whoever opens a task locks it FOR SHARE and compares; whoever changes blocks updates it first.
CREATE TABLE block_gate (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  generation bigint NOT NULL
);
INSERT INTO block_gate (generation) VALUES (0);

ALTER TABLE revocations
  ADD COLUMN kid text,
  DROP CONSTRAINT revocations_check,
  ADD CONSTRAINT revocations_of_one CHECK (num_nonnulls(task_id, jti, kid) = 1);
CREATE INDEX revocations_task ON revocations (task_id, seq) WHERE task_id IS NOT NULL;
-- Changed when the record went back in time, as after a restore: then what readers remember of it is worth nothing.
ALTER TABLE revocation_counter ADD COLUMN epoch uuid NOT NULL DEFAULT gen_random_uuid();
