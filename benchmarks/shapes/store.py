"""A store of objects on this machine that answers as S3 does: each request takes a given time, and is counted.

It runs in a process of its own, so that answering costs the measured process nothing. It serves one folder, under any
prefix: `s3://bench/first/x` and `s3://bench/second/x` are the same file, which two caches of footers do not know.
"""

import http.client
import multiprocessing
import os
import re
import time
import urllib.parse
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from xml.sax.saxutils import escape

BUCKET = "bench"
_COUNT = "/-/count"
"""Answers the number of requests so far, and is none itself."""
_PAGE = 1_000
_SETTINGS = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ALLOW_HTTP": "true",
}


class SlowStore:
    """The store, as a context manager. Within it, `s3://bench/...` leads there from this process.

    Args:
        folder: what it serves.
        latency_s: how long each request takes at least.
    """

    def __init__(self, folder: Path, latency_s: float) -> None:
        mine, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(folder, latency_s, theirs), daemon=True)
        self._process.start()
        self.port: int = mine.recv()
        self._before = dict(os.environ)
        os.environ.update(_SETTINGS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()
        for name in (*_SETTINGS, "AWS_ENDPOINT_URL"):
            os.environ.pop(name, None)
            if name in self._before:
                os.environ[name] = self._before[name]

    @property
    def requests(self) -> int:
        """Requests so far."""
        return int(self.get(_COUNT, ""))

    def get(self, path: str, byte_range: str) -> bytes:
        """A request as one writes it by hand, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", path, headers={"Range": byte_range} if byte_range else {})
            return connection.getresponse().read()
        finally:
            connection.close()


def _serve(folder: Path, latency_s: float, pipe: Any) -> None:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.parquet")}
    server.contents = {}
    server.latency_s = latency_s
    pipe.send(server.server_port)
    server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    files: dict[str, Path]
    contents: dict[str, bytes]
    latency_s: float
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """An object, a range of one, or a listing."""
        address = urllib.parse.urlsplit(self.path)
        if address.path == _COUNT:
            self._answer(200, str(self.server.requests).encode())
            return
        self._wait()
        prefix, _, name = urllib.parse.unquote(address.path).removeprefix(f"/{BUCKET}").lstrip("/").partition("/")
        given = dict(urllib.parse.parse_qsl(address.query))
        if not prefix:
            self._answer(200, self._listing(given), {"Content-Type": "application/xml"})
        elif (content := self._content(name)) is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif found := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            first, last = _bounds(found, len(content))
            part = content[first : last + 1]
            self._answer(206, part, {**_times(), "Content-Range": f"bytes {first}-{last}/{len(content)}"})
        else:
            self._answer(200, content, _times())

    def do_HEAD(self) -> None:
        """Whether there is an object, and its size; or the bucket's region."""
        self._wait()
        prefix, _, name = urllib.parse.unquote(self.path).removeprefix(f"/{BUCKET}").lstrip("/").partition("/")
        content = b"" if not prefix else self._content(name)
        headers = _times() if prefix else {"x-amz-bucket-region": _SETTINGS["AWS_REGION"]}
        self._answer(404 if content is None else 200, content or b"", headers)

    def _wait(self) -> None:
        self.server.requests += 1
        time.sleep(self.server.latency_s)

    def _content(self, name: str) -> bytes | None:
        if name not in self.server.files:
            return None
        if name not in self.server.contents:
            self.server.contents[name] = self.server.files[name].read_bytes()
        return self.server.contents[name]

    def _listing(self, given: dict[str, str]) -> bytes:
        prefix = given.get("prefix", "")
        first = prefix.split("/")[0]
        keys = [key for name in sorted(self.server.files) if (key := f"{first}/{name}").startswith(prefix)]
        after = given.get("continuation-token", given.get("start-after", ""))
        page = [key for key in keys if key > after][: min(_PAGE, int(given.get("max-keys", _PAGE)))]
        more = bool(page) and page[-1] != keys[-1]
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{self.server.files[key.partition('/')[2]].stat().st_size}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;0&quot;</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return (
            f'<?xml version="1.0"?><ListBucketResult><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>'
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        ).encode()

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _bounds(found: re.Match[str], size: int) -> tuple[int, int]:
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    return int(found[1]), min(int(found[2] or size - 1), size - 1)


def _times() -> dict[str, str]:
    return {"Last-Modified": formatdate(1_767_225_600, usegmt=True), "ETag": '"0"'}
