"""Holds a running gateway's API to its OpenAPI document with schemathesis.

Opens the one-time link given with --login and keeps the session's cookie to itself: it is in no command line and no log.
Ends with schemathesis's exit code: 0 if every answer was what the document says.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def cookie_of(link: str) -> str:
    try:
        answer = urllib.request.build_opener(Stay).open(link, timeout=20)
    except urllib.error.HTTPError as redirect:
        answer = redirect
    cookie = answer.headers.get("Set-Cookie")
    if not cookie:
        sys.exit(f"the login link gave no cookie: status {answer.status}")
    return cookie.split(";")[0]


def document_of(origin: str, cookie: str) -> bytes:
    request = urllib.request.Request(f"{origin}/api/v1/openapi.json", headers={"Cookie": cookie})
    return urllib.request.urlopen(request, timeout=20).read()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--login", required=True, help="a one-time link")
    link = arguments.parse_args().login
    parts = urllib.parse.urlsplit(link)
    origin = f"{parts.scheme}://{parts.netloc}"
    cookie = cookie_of(link)
    here = Path(__file__).parent
    program = Path(sys.executable).with_name("schemathesis")
    with tempfile.NamedTemporaryFile(suffix=".json") as document:
        document.write(document_of(origin, cookie))
        document.flush()
        command = [program, "--config-file", here / "schemathesis.toml", "run", document.name, "--url", origin]
        environment = {**os.environ, "FIELDPOST_SESSION": cookie.split("=", 1)[1]}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
