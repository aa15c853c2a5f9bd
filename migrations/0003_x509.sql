-- Certificates are credentials, and what signs them is a signing key: an issuing authority.

-- What is there is of the narrower set that was checked before.
ALTER TABLE credentials
  DROP CONSTRAINT credentials_type_check,
  ADD CONSTRAINT credentials_type_check CHECK (type IN ('jwt', 'x509')) NOT VALID;
-- What an authority signed and has not expired, for its CRL.
CREATE INDEX credentials_x509 ON credentials (kid, expires_at, jti) WHERE type = 'x509';
-- And what of a task's is among it, of which there can be little among very many tokens.
CREATE INDEX credentials_x509_task ON credentials (task_id, expires_at) WHERE type = 'x509';

ALTER TABLE signing_keys
  -- Keys of one use are never published or taken for the other.
  ADD COLUMN use text NOT NULL DEFAULT 'jwt' CHECK (use IN ('jwt', 'x509')),
  -- DER of an authority's certificate and of those between it and its root, its own first.
  ADD COLUMN chain bytea[],
  -- The root that the chain ends at.
  ADD COLUMN root_kid text,
  ADD CONSTRAINT signing_keys_authority CHECK (
    (use = 'x509') = (chain IS NOT NULL) AND (use = 'x509') = (root_kid IS NOT NULL)
  );

-- Roots that those who accept certificates trust. Each is sealed under the master key, its private key with it where the broker made it:
-- who can write to the database alone cannot add one.
CREATE TABLE ca_roots (
  kid text PRIMARY KEY,
  -- AES-256-GCM: nonce, ciphertext, tag. Purpose and kid are the associated data.
  sealed bytea NOT NULL,
  wrapped_by text NOT NULL,
  -- Whether the broker has its private key.
  own boolean NOT NULL,
  published_at timestamptz NOT NULL,
  -- Signs authorities from here on.
  active_at timestamptz NOT NULL,
  retired_at timestamptz,
  -- Published until then: nothing below it is valid any longer; null while not retired.
  last_day timestamptz
);

-- spiffe_sequence: grows with every change of what the bundle holds.
CREATE TABLE ca_bundle (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  sequence bigint NOT NULL
);
INSERT INTO ca_bundle (sequence) VALUES (0);

-- Keys of authorities that wait for the organisation's own root to sign them.
CREATE TABLE ca_requests (
  kid text PRIMARY KEY,
  private_key bytea NOT NULL,
  wrapped_by text NOT NULL,
  created_at timestamptz NOT NULL
);
