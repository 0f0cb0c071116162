-- Rows of the history as the gateway keeps them, in the wire's own units, in tables of a day each. Nobody but the gateway
-- reads them: a look at a position is on record before it is answered, and a query here would not be.
--
-- Names are compared as bytes, as the gateway does.

CREATE TABLE movement (
    force text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    print bigint NOT NULL,
    kind smallint NOT NULL,
    received_at timestamptz NOT NULL,
    mode smallint NOT NULL,
    clock smallint NOT NULL,
    is_backlog boolean NOT NULL,
    latitude_udeg int,
    longitude_udeg int,
    speed_cmps int,
    course_turn256 smallint,
    accuracy_m smallint,
    source smallint,
    reason smallint,
    duty smallint,
    battery_pct smallint,
    PRIMARY KEY (force, device, at, boot, seq, print, kind)
) PARTITION BY RANGE (at);
CREATE INDEX movement_at ON movement USING brin (at);
-- The newest status of a unit lies far before its newest positions.
CREATE INDEX movement_statuses ON movement (force, device, at) WHERE kind = 1;

CREATE TABLE alarms (
    force text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    print bigint NOT NULL,
    kind smallint NOT NULL,
    received_at timestamptz NOT NULL,
    mode smallint NOT NULL,
    clock smallint NOT NULL,
    is_backlog boolean NOT NULL,
    alarm text COLLATE "C" NOT NULL,
    what text NOT NULL,
    said text NOT NULL,
    PRIMARY KEY (force, device, at, boot, seq, print, kind)
) PARTITION BY RANGE (at);
CREATE INDEX alarms_at ON alarms USING brin (at);
CREATE INDEX alarms_alarm ON alarms (force, device, alarm);

-- Every unit that ever had a row here.
CREATE TABLE units (
    force text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    PRIMARY KEY (force, device)
);
