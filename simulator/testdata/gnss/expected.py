#!/usr/bin/env python3
"""Writes expected.csv: every fix that pynmea2, a parser we did not write, accepts in these logs.

    python3 -m venv .venv && .venv/bin/pip install pynmea2==1.19.0 && .venv/bin/python expected.py > expected.csv

A fix is an RMC sentence with status A and a good checksum. A sentence that repeats the UTC time of the fix before it is
the same epoch and is left out.
"""

import calendar
import pathlib

import pynmea2

KNOT_MPS = 1852 / 3600

print("file,line,unix_ms,latitude_deg,longitude_deg,speed_mps")
for log in sorted(pathlib.Path(__file__).parent.glob("*.log")):
    previous = None
    for number, raw in enumerate(log.read_bytes().split(b"\n"), 1):
        line = raw.decode("latin-1").strip()
        if line[3:6] != "RMC" or "*" not in line:
            continue
        try:
            rmc = pynmea2.parse(line, check=True)
        except pynmea2.ParseError:
            continue
        if rmc.status != "A":
            continue
        moment = rmc.datetime
        unix_ms = calendar.timegm(moment.utctimetuple()) * 1000 + round(moment.microsecond / 1000)
        if unix_ms == previous:
            continue
        previous = unix_ms
        speed = "" if rmc.spd_over_grnd is None else f"{rmc.spd_over_grnd * KNOT_MPS:.6f}"
        print(f"{log.name},{number},{unix_ms},{rmc.latitude:.9f},{rmc.longitude:.9f},{speed}")
