"""Every fix that an independent parser accepts arrives in JetStream: same place, speed and time, in order, once.

The receivers' logs go through the device logic, MQTT over mutual TLS, the gateway and its spool into a real
nats-server; pynmea2, which shares no code with us, says what should have arrived.

The comparison proves itself: with a fix dropped, two swapped, or one moved by 2e-6 degrees it must turn red.
"""

import asyncio
import datetime
import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import nats
import pynmea2

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGS = sorted((ROOT / "simulator/testdata/gnss").glob("*.log"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SIMULATOR = TARGET / "debug/fieldpost-sim"
NATS_SERVER = pathlib.Path(sys.executable).parent / "nats-server"

DEGREES_TOLERANCE = 1e-6
SPEED_TOLERANCE_MPS = 0.01
MPS_PER_KNOT = 1852 / 3600
READY_SECONDS_MAX = 30
REPLAY_SECONDS_MAX = 300


def accepted_fixes(log):
    """What pynmea2 accepts: valid RMC sentences with a good checksum, one for each UTC time, in the log's order."""
    fixes, times = [], set()
    for line in log.read_text(encoding="latin-1").splitlines():
        line = line.strip()
        if not line.startswith("$") or line[3:6] != "RMC":
            continue
        try:
            rmc = pynmea2.parse(line, check=True)
        except pynmea2.ParseError:
            continue
        if rmc.status != "A" or rmc.timestamp is None or rmc.datestamp is None:
            continue
        if rmc.datetime in times:
            continue
        times.add(rmc.datetime)
        knots = rmc.spd_over_grnd
        speed = None if knots is None else float(knots) * MPS_PER_KNOT
        fixes.append((rmc.datetime, rmc.latitude, rmc.longitude, speed))
    return fixes


def arrived_fix(event):
    data = event["data"]
    at = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
    return at, data["latitude_deg"], data["longitude_deg"], data.get("speed_mps")


def close(left, right, tolerance):
    if left is None or right is None:
        return left is right
    return math.isclose(left, right, rel_tol=0, abs_tol=tolerance)


def same(expected, arrived):
    return (
        expected[0] == arrived[0]
        and close(expected[1], arrived[1], DEGREES_TOLERANCE)
        and close(expected[2], arrived[2], DEGREES_TOLERANCE)
        and close(expected[3], arrived[3], SPEED_TOLERANCE_MPS)
    )


def differences(expected, arrived):
    if len(expected) != len(arrived):
        yield f"{len(expected)} fixes expected, {len(arrived)} arrived"
    for number, (left, right) in enumerate(zip(expected, arrived)):
        if not same(left, right):
            # Receiver logs are public; these are nobody's positions.
            yield f"fix {number}: expected {left}, arrived {right}"


def sabotage(how, arrived):
    if how == "drop":
        del arrived[len(arrived) // 2]
    elif how == "swap":
        arrived[0], arrived[1] = arrived[1], arrived[0]
    elif how == "move":
        at, latitude, longitude, speed = arrived[-1]
        arrived[-1] = at, latitude + 2e-6, longitude, speed


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def connect(url):
    """Asks until the server answers; it says nothing when it is ready."""
    give_up = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            return await nats.connect(url, allow_reconnect=False, error_cb=ignore)
        except (OSError, nats.errors.Error):
            if time.monotonic() > give_up:
                raise


async def ignore(_error):
    """The caller sees the same error as an exception."""


async def stored_events(client):
    """Every message of every stream, in stream order."""
    jetstream = client.jetstream()
    events = []
    for stream in await jetstream.streams_info():
        for sequence in range(stream.state.first_seq, stream.state.last_seq + 1):
            message = await jetstream.get_msg(stream.config.name, sequence)
            event = json.loads(message.data)
            if event["type"].startswith("uk.fieldpost.position."):
                events.append(event)
    return events


async def arrived_events():
    if not LOGS:
        sys.exit("no receiver logs in simulator/testdata/gnss")
    with tempfile.TemporaryDirectory(prefix="fieldpost-gnss-") as folder:
        port = free_port()
        url = f"nats://127.0.0.1:{port}"
        server = subprocess.Popen(
            [NATS_SERVER, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            client = await connect(url)
            replay = [SIMULATOR, "replay-nmea", "--fast", "--nats", url, *LOGS]
            subprocess.run(replay, check=True, timeout=REPLAY_SECONDS_MAX, stdout=subprocess.DEVNULL)
            events = await stored_events(client)
            await client.close()
        finally:
            server.kill()
            server.wait()
    return events


def compare(events, how=None, say=print):
    """Whether everything is as it should be; `how` spoils what arrived first."""
    green = True
    say(f"{'log':<28} {'accepted':>8} {'arrived':>8}")
    for log in LOGS:
        expected = accepted_fixes(log)
        arrived = [arrived_fix(event) for event in events if event["source"].endswith("/" + log.stem)]
        sabotage(how, arrived)
        found = list(differences(expected, arrived))
        say(f"{log.name:<28} {len(expected):>8} {len(arrived):>8}  {'RED' if found else 'ok'}")
        for line in found[:5]:
            say("   ", line)
        green = green and not found
    return green


def main():
    events = asyncio.run(arrived_events())
    if not compare(events):
        return 1
    for how in ("drop", "swap", "move"):
        if compare(events, how, say=lambda *_: None):
            print(f"the comparison does not notice `{how}`: it proves nothing")
            return 1
    print("dropped, swapped and moved fixes were each noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
