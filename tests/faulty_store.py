"""An S3 server that is slow, fails, or loses connections, as a test tells it to: a proxy in front of the server of
`s3_store`, which counts the requests and keeps conditional writes atomic."""

import http.client
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from s3_store import BUCKET, S3Store, s3_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request that reached the store."""

    number: int
    """Its number since the last `reset`, from 1 on."""
    command: str
    key: str
    """The object's key; for a listing, `list <prefix>`."""
    query: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What happens to a request instead of a proper answer."""

    delay_s: float = 0
    """It is carried out this much later."""
    status: int | None = None
    """It is not carried out, and answered with this status."""
    loses: str = ""
    """The connection is closed: in the middle of the request's body (`upload`); of the answer's (`download`), whose
    length was announced; after the request was carried out, but before its answer (`answer`)."""
    shortens: bool = False
    """The answer has half of the bytes, and says so."""


_HOP_HEADERS = ("connection", "expect", "transfer-encoding", "content-length")
SLOW = Fault(delay_s=0.2)


def every(count: int, fault: Fault) -> Callable[[Request], Fault | None]:
    """The fault for each request whose number is a multiple of `count`."""
    return lambda request: None if request.number % count else fault


def first(count: int, fault: Fault, *, of: Callable[[Request], bool]) -> Callable[[Request], Fault | None]:
    """The fault for the first `count` requests for which `of` holds."""
    left, lock = [count], threading.Lock()

    def decide(request: Request) -> Fault | None:
        with lock:
            if not left[0] or not of(request):
                return None
            left[0] -= 1
            return fault

    return decide


class FaultyStore:
    """The proxy's address, what it does, and what it has seen."""

    def __init__(self, store: S3Store) -> None:
        self.store = store
        self.endpoint = ""
        self.decide: Callable[[Request], Fault | None] = lambda request: None
        self.requests: list[Request] = []
        self.faults = 0
        """Number of requests that had a fault other than a delay."""
        self.lock = threading.Lock()
        self.commits = threading.Lock()

    def uri(self, path: str) -> str:
        return self.store.uri(path)

    def reset(self, decide: Callable[[Request], Fault | None] = lambda request: None) -> None:
        with self.lock:
            self.requests, self.faults, self.decide = [], 0, decide

    def counts(self) -> Counter[str]:
        """Number of requests per kind: `GET`, `HEAD`, `PUT`, `POST`, `DELETE`, `list`."""
        with self.lock:
            return Counter("list" if request.key.startswith("list ") else request.command for request in self.requests)

    def note(self, command: str, path: str) -> tuple[Request, Fault | None]:
        listed = re.search(r"[?&]prefix=([^&]*)", path)
        head, _, query = path.partition("?")
        key = unquote(f"list {listed[1]}" if listed and command == "GET" else head.removeprefix(f"/{BUCKET}/"))
        with self.lock:
            request = Request(number=len(self.requests) + 1, command=command, key=key, query=query)
            self.requests.append(request)
        fault = self.decide(request)
        if fault is not None and fault != Fault(delay_s=fault.delay_s):
            with self.lock:
                self.faults += 1
        return request, fault


@contextmanager
def faulty_store() -> Iterator[FaultyStore]:
    """A store with an empty bucket, to which `s3://` URIs lead meanwhile."""
    with s3_store() as store:
        faulty = FaultyStore(store)
        handler = type("_ProxyOfOne", (_Proxy,), {"faulty": faulty})
        server = _Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        faulty.endpoint = f"http://127.0.0.1:{server.server_port}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", faulty.endpoint)
            yield faulty
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


class _Proxy(BaseHTTPRequestHandler):
    faulty: FaultyStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _upstream: http.client.HTTPConnection | None = None

    def _serve(self) -> None:
        _, fault = self.faulty.note(self.command, self.path)
        fault = fault or Fault()
        if fault.loses == "upload":
            self.rfile.read(int(self.headers.get("x-amz-decoded-content-length") or 0) // 2)
            self._reset()
            return
        body = self._body()
        time.sleep(fault.delay_s)
        if fault.status is not None:
            self._answer(fault.status, [("Content-Type", "application/xml")], _error(fault.status))
            return
        status, headers, answer = self._forward(body)
        if fault.loses == "answer":
            self._hang_up()
            return
        kept = answer[: len(answer) // 2] if fault.shortens or fault.loses == "download" else answer
        self._answer(status, headers, kept, announced=len(kept) if fault.shortens else len(answer))
        if fault.loses == "download":
            self._hang_up()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815  (the base class asks for these names)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        is_commit = self.headers.get("If-None-Match") is not None
        with self.faulty.commits if is_commit else threading.Lock():
            if self._upstream is None:
                host = self.faulty.store.endpoint.removeprefix("http://")
                self._upstream = http.client.HTTPConnection(host, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
            try:
                self._upstream.request(self.command, self.path, body or None, headers)
                answer = self._upstream.getresponse()
            except (http.client.HTTPException, OSError):  # the server closes connections that were idle
                self._upstream.close()
                self._upstream.request(self.command, self.path, body or None, headers)
                answer = self._upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, announced: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = len(body) if announced is None else announced
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = int(value)
            elif name.lower() not in _HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        """Close the connection with data unread, and tell the client so at once."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, *_: object) -> None:
        pass


def _error(status: int) -> bytes:
    code = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}.get(status, "Error")
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault of the test</Message></Error>".encode()
