-- What a force system is sent, a row an event, in tables of a day each. Run with the search path set to the schema
-- of the sink and that of PostGIS.
--
-- A row's key is (force, device, boot, seq, repeat); `at` is in the primary keys because a partitioned table wants
-- its partition key there. That a key stands once over all days is kept by the gateway, who asks `boots` in which
-- days to look (docs/sinks/postgres.md).

CREATE TABLE positions (
    force text NOT NULL,
    device text NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    repeat bigint NOT NULL,
    at timestamptz NOT NULL,
    at_is_device_time boolean NOT NULL,
    received_at timestamptz NOT NULL,
    clock text NOT NULL,
    mode text NOT NULL,
    lane text NOT NULL,
    marking text NOT NULL,
    place geography(Point, 4326),
    accuracy_m smallint,
    speed_mps real,
    course_deg real,
    source smallint NOT NULL,
    reason smallint NOT NULL,
    PRIMARY KEY (force, device, boot, seq, repeat, at)
) PARTITION BY RANGE (at);
CREATE INDEX positions_at ON positions USING brin (at);
CREATE INDEX positions_place ON positions USING gist (place);

CREATE TABLE alarms (
    force text NOT NULL,
    device text NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    repeat bigint NOT NULL,
    at timestamptz NOT NULL,
    at_is_device_time boolean NOT NULL,
    received_at timestamptz NOT NULL,
    clock text NOT NULL,
    mode text NOT NULL,
    lane text NOT NULL,
    marking text NOT NULL,
    kind text NOT NULL,
    place geography(Point, 4326),
    event jsonb NOT NULL,
    PRIMARY KEY (force, device, boot, seq, repeat, at)
) PARTITION BY RANGE (at);
CREATE INDEX alarms_at ON alarms USING brin (at);
CREATE INDEX alarms_place ON alarms USING gist (place);

CREATE TABLE events (
    force text NOT NULL,
    device text NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    repeat bigint NOT NULL,
    at timestamptz NOT NULL,
    at_is_device_time boolean NOT NULL,
    received_at timestamptz NOT NULL,
    clock text NOT NULL,
    mode text NOT NULL,
    lane text NOT NULL,
    marking text NOT NULL,
    kind text NOT NULL,
    event jsonb NOT NULL,
    PRIMARY KEY (force, device, boot, seq, repeat, at)
) PARTITION BY RANGE (at);
CREATE INDEX events_at ON events USING brin (at);

-- In which days rows of one boot of a device stand.
CREATE TABLE boots (
    force text NOT NULL,
    device text NOT NULL,
    boot bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (force, device, boot)
);
