"""An S3 server on this machine that records the requests it gets."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

BUCKET = "lake"


class S3Store:
    """The server's one bucket."""

    def __init__(self, endpoint: str, requests: list[tuple[str, str]]) -> None:
        self.endpoint = endpoint
        self._client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self._client.create_bucket(Bucket=BUCKET)
        self._requests = requests

    def uri(self, path: str) -> str:
        return f"s3://{BUCKET}/{path}"

    def upload(self, folder: Path, path: str) -> str:
        """Copy a folder's files into the bucket, and return their folder's URI there."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = f"{path}/{file.relative_to(folder).as_posix()}"
                self._client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
        return self.uri(path)

    @contextmanager
    def recorded(self) -> Iterator[Counter[str]]:
        """Counts what is asked for within the block: `"GET *.parquet"`, `"list t/"`, `"HEAD t/.footers"`, ..."""
        del self._requests[:]
        counts = Counter[str]()
        yield counts
        counts.update(map(_kind, self._requests))


@contextmanager
def s3_store() -> Iterator[S3Store]:
    """A server with an empty bucket, to which `s3://` URIs lead meanwhile."""
    requests: list[tuple[str, str]] = []

    def record(handler: Any, *_: object) -> None:
        requests.append((handler.command, handler.path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WSGIRequestHandler, "log_request", record)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ENDPOINT_URL": endpoint,
        }.items():
            patch.setenv(name, value)
        yield S3Store(endpoint, requests)
        server.stop()


def _kind(request: tuple[str, str]) -> str:
    command, path = request
    listed = re.search(r"[?&]prefix=([^&]*)", path)
    if listed is not None:
        return f"list {listed[1].replace('%2F', '/')}"
    key = path.partition("?")[0].removeprefix(f"/{BUCKET}/")
    return f"{command} *.parquet" if key.endswith(".parquet") else f"{command} {key}"
