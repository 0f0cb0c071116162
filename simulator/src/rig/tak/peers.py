"""TAK parties that are not ours, for `fieldpost-sim rig tak`: what each receives, one JSON object a line.

server PORT CA CERTIFICATE KEY xml|protobuf   a TAK server whose reader is PyTAK's, or takproto's
client URL CA CERTIFICATE KEY CALLSIGN        PyTAK as a TAK client; URL is tls://host:port
slow|hostile URL CA CERTIFICATE KEY NAME      a TAK client that reads nothing; one that sends external entities

Every XML event goes through two strict parsers, defusedxml and lxml; what either refuses is reported as `bad`.
A line `break` on standard input breaks every connection of a server.
"""

import asyncio
import datetime
import json
import socket
import ssl
import sys
import time

import pytak
import takproto
from defusedxml.ElementTree import fromstring
from lxml import etree

STRICT = etree.XMLParser(resolve_entities=False, no_network=True, recover=False, huge_tree=False)


def say(**words):
    print(json.dumps(words), flush=True)


def unix_ms(text):
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(time.timestamp() * 1000)


def say_event(data, received_ms):
    try:
        etree.fromstring(data, STRICT)
        event = fromstring(data, forbid_dtd=True, forbid_entities=True, forbid_external=True)
        point, contact = event.find("point"), event.find("detail/contact")
        emergency = event.find("detail/emergency")
        say(
            at_ms=received_ms,
            uid=event.get("uid"),
            type=event.get("type"),
            time_ms=unix_ms(event.get("time")),
            stale_ms=unix_ms(event.get("stale")),
            lat=point.get("lat"),
            callsign=contact.get("callsign") if contact is not None else None,
            emergency=None if emergency is None else emergency.get("type"),
            cancel=emergency is not None and emergency.get("cancel") == "true",
        )
    except Exception as error:  # Whatever it is, the event was none.
        say(bad=f"{type(error).__name__}: {error}", text=repr(data[:200]))


def context(purpose, ca, certificate, key):
    made = ssl.create_default_context(purpose, cafile=ca)
    made.load_cert_chain(certificate, key)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def control(kind, detail):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<event version="2.0" uid="rig" type="{kind}" how="m-g" time="{now}" '
        f'start="{now}" stale="{now}"><point lat="0" lon="0" hae="0" ce="999999" le="999999"/>'
        f"<detail><TakControl>{detail}</TakControl></detail></event>"
    ).encode()


async def read_frames(reader):
    """Frames of the stream, decoded by takproto."""
    while await reader.readexactly(1) == b"\xbf":
        header, length, shift = b"\xbf", 0, 0
        while True:
            byte = await reader.readexactly(1)
            header += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if not byte[0] & 0x80:
                break
        message = takproto.parse_proto(header + await reader.readexactly(length))
        event = message.cotEvent
        if not event.uid:
            continue
        detail = fromstring(f"<detail>{event.detail.xmlDetail}</detail>", forbid_dtd=True)
        emergency = detail.find("emergency")
        say(
            at_ms=round(time.time() * 1000),
            uid=event.uid,
            type=event.type,
            time_ms=event.sendTime,
            stale_ms=event.staleTime,
            lat=f"{event.lat:.6f}",
            callsign=event.detail.contact.callsign,
            emergency=None if emergency is None else emergency.get("type"),
            cancel=emergency is not None and emergency.get("cancel") == "true",
        )


async def serve(port, ca, certificate, key, protocol):
    writers = set()

    async def talk(reader, writer):
        writers.add(writer)
        say(connected=True)
        try:
            if protocol == "protobuf":
                writer.write(control("t-x-takp-v", '<TakProtocolSupport version="1"/>'))
                await writer.drain()
                while b"t-x-takp-q" not in await reader.readuntil(b"</event>"):
                    pass
                writer.write(control("t-x-takp-r", '<TakResponse status="true"/>'))
                await writer.drain()
                await read_frames(reader)
                return
            queue = asyncio.Queue()
            receiver = pytak.RXWorker(queue, {}, reader)
            while data := await receiver.readcot():
                say_event(data.strip(), round(time.time() * 1000))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    tls = context(ssl.Purpose.CLIENT_AUTH, ca, certificate, key)
    server = await asyncio.start_server(talk, "127.0.0.1", int(port), ssl=tls, limit=1 << 20)
    say(ready=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        if line.strip() == b"break":
            for writer in list(writers):
                writer.transport.abort()
    server.close()


async def connect(url, ca, certificate, key, callsign):
    config = {
        "COT_URL": url,
        "PYTAK_TLS_CLIENT_CERT": certificate,
        "PYTAK_TLS_CLIENT_KEY": key,
        "PYTAK_TLS_CLIENT_CAFILE": ca,
        "PYTAK_TLS_DONT_CHECK_HOSTNAME": "1",
    }
    reader, writer = await pytak.protocol_factory(config)
    writer.write(pytak.gen_cot(uid=f"rig-{callsign}", callsign=callsign, stale=3600))
    await writer.drain()
    say(ready=True)
    queue = asyncio.Queue()
    receiver = pytak.RXWorker(queue, config, reader)
    while data := await receiver.readcot():
        say_event(data.strip(), round(time.time() * 1000))


async def dial(url, ca, certificate, key):
    host, port = url.removeprefix("tls://").split(":")
    made = socket.socket()
    # Small, so that whoever sends to us notices soon that we take nothing.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((host, int(port)))
    return context(ssl.Purpose.SERVER_AUTH, ca, certificate, key).wrap_socket(made, server_hostname=host)


async def be_slow(url, ca, certificate, key, _name):
    connection = await dial(url, ca, certificate, key)
    connection.recv(1)
    say(ready=True)
    await asyncio.Event().wait()


async def be_hostile(url, ca, certificate, key, _name):
    connection = await dial(url, ca, certificate, key)
    event = "<!DOCTYPE e [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><event uid='u' type='a'>&a;</event>"
    connection.sendall(event.encode() * 16)
    say(ready=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    modes = {"server": serve, "client": connect, "slow": be_slow, "hostile": be_hostile}
    asyncio.run(modes[sys.argv[1]](*sys.argv[2:]))
