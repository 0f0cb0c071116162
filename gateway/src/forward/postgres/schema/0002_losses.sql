-- What a gateway's forwarder lost before it reached this database: a statement of the gateway's own, no device's.
CREATE TABLE gateway_losses (
    id text PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT now(),
    event jsonb NOT NULL
);
