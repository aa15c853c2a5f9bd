-- Times are handed in by the broker (its clock is passed in, so that tests can move it); none is now().

CREATE TABLE tasks (
  id uuid PRIMARY KEY,
  trust text NOT NULL,
  kind text NOT NULL,
  ref text NOT NULL,
  -- SHA-256 of (trust, ref) where a template names the task, of (trust, principal, ref) elsewhere: refs and principals
  -- can be longer than an index row.
  name_key bytea NOT NULL,
  templated boolean NOT NULL,
  purpose text,
  principal text NOT NULL,
  subject text NOT NULL,
  state text NOT NULL CHECK (state IN ('open', 'suspended', 'closed')),
  close_reason text CHECK ((state = 'closed') = (close_reason IS NOT NULL)),
  context jsonb NOT NULL,
  bind text[] NOT NULL,
  ver integer NOT NULL,
  rev integer NOT NULL,
  opened_at timestamptz NOT NULL,
  deadline timestamptz NOT NULL,
  heartbeat_timeout integer,
  last_heartbeat_at timestamptz,
  -- When silence closes it; null while it cannot.
  silent_at timestamptz,
  closed_at timestamptz CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);
CREATE UNIQUE INDEX tasks_open_name ON tasks (name_key) WHERE NOT templated AND state <> 'closed';
CREATE INDEX tasks_deadline ON tasks (deadline) WHERE state <> 'closed';
CREATE INDEX tasks_silent ON tasks (silent_at) WHERE silent_at IS NOT NULL;
CREATE INDEX tasks_closed ON tasks (closed_at) WHERE state = 'closed';
CREATE INDEX tasks_alive ON tasks (id) WHERE state <> 'closed';
CREATE INDEX tasks_kind ON tasks (kind, id);
CREATE INDEX tasks_principal ON tasks (hashtextextended(principal, 0), id);
CREATE INDEX tasks_ref ON tasks (hashtextextended(ref, 0), id);

-- A template's name stands for one task for ever. These rows are never deleted, so a name outlives its task's retention.
CREATE TABLE task_names (
  name_key bytea PRIMARY KEY,
  task_id uuid NOT NULL
);

-- No foreign key to tasks: the reservation has locked and read the task already, and a check for each row costs a mint.
CREATE TABLE credentials (
  jti uuid PRIMARY KEY,
  task_id uuid NOT NULL,
  task_ver integer NOT NULL,
  type text NOT NULL CHECK (type IN ('jwt')),
  scope text NOT NULL,
  audience text[] NOT NULL,
  kid text NOT NULL,
  -- The decision that allowed it: it has the claims of the attestation that it was minted for.
  decision_id uuid NOT NULL,
  issued_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX credentials_task ON credentials (task_id, jti);

-- Attestations that may be used once, and were.
CREATE TABLE attestation_uses (
  use_key bytea PRIMARY KEY,
  -- The request that used it: opening a task and minting for it are one use.
  request_id uuid NOT NULL,
  acceptable_until timestamptz NOT NULL
);
CREATE INDEX attestation_uses_until ON attestation_uses (acceptable_until);

CREATE TABLE decisions (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  request_id uuid NOT NULL,
  action text NOT NULL,
  decision text NOT NULL CHECK (decision IN ('allow', 'deny')),
  -- The error code that the caller saw, and the reason, which it may not have seen.
  code text,
  reason text,
  principal text,
  trust text,
  task_id uuid,
  task_ver integer,
  jti uuid,
  policy_version text,
  policies text[] NOT NULL,
  asked jsonb NOT NULL,
  -- The principal's attested claims and groups, and the task's context, as they were.
  workload jsonb,
  context jsonb,
  attestation bytea,
  address inet
);
CREATE INDEX decisions_task ON decisions (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX decisions_principal ON decisions (hashtextextended(principal, 0), id);
-- Rare among many: what is common is found by going back from the newest.
CREATE INDEX decisions_denied ON decisions (id) WHERE decision = 'deny';
CREATE INDEX decisions_action ON decisions (action, id) WHERE action <> 'mint' AND action <> 'introspect' AND action <> 'read';

CREATE TABLE signing_keys (
  kid text PRIMARY KEY,
  alg text NOT NULL,
  published_at timestamptz NOT NULL,
  active_at timestamptz NOT NULL,
  -- Signs no more from here on; null while no successor has a date.
  retired_at timestamptz,
  -- No signature of it may be valid past this, and it is published until then; null while not retired.
  last_day timestamptz,
  -- Milliseconds: the longest `ttl_max` of any broker that may have signed with it.
  ttl_max bigint NOT NULL,
  -- PKCS #8, AES-256-GCM: nonce, ciphertext, tag. Purpose and kid are the associated data.
  private_key bytea NOT NULL,
  -- Which master key wrapped it.
  wrapped_by text NOT NULL
);

-- What ended or changed. seq is taken from revocation_counter as the last act of a transaction, under its row lock, so
-- numbers are in commit order; a sequence hands out numbers before commit.
CREATE TABLE revocations (
  seq bigint PRIMARY KEY,
  at timestamptz NOT NULL,
  task_id uuid,
  state text,
  ver integer,
  jti uuid,
  reason text NOT NULL,
  -- When nothing that this row kills can be alive any more.
  until timestamptz NOT NULL,
  CHECK ((jti IS NULL) = (task_id IS NOT NULL))
);
CREATE INDEX revocations_until ON revocations (until);
CREATE TABLE revocation_counter (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  seq bigint NOT NULL
);
INSERT INTO revocation_counter (seq) VALUES (0);
