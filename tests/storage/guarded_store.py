"""An S3 server in a process of its own, which lets in only those who have the key that it has made.

It checks signatures as AWS does, so a request passes only if whoever sends it was given this store's own key.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

BUCKET = "lake"
MODELS = "models"


class GuardedStore:
    """The store and the options that open it."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self.endpoint, self.secret = told["endpoint"], told["secret"]
        self.options = {
            "endpoint_url": self.endpoint,
            "allow_http": "true",
            "aws_region": "eu-central-1",
            "aws_access_key_id": told["id"],
            "aws_secret_access_key": told["secret"],
        }

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="eu-central-1",
            aws_access_key_id=self.options["aws_access_key_id"],
            aws_secret_access_key=self.secret,
        )

    def upload(self, folder: Path, bucket: str, path: str) -> str:
        """Copy a folder's files into a bucket, and return their folder's URI there."""
        client = self.client
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = f"{path}/{file.relative_to(folder).as_posix()}"
                client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
        return f"s3://{bucket}/{path}"

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Every object: its key and its content."""
        client = self.client
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for found in page.get("Contents", ()):
                yield found["Key"], client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()


@contextmanager
def guarded_store() -> Iterator[GuardedStore]:
    """A store with two empty buckets, to which nothing leads but its options."""
    command = [sys.executable, "-W", "ignore", __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield GuardedStore(json.loads(server.stdout.readline()))
        finally:
            server.kill()


def without_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Leave no credentials to be found in the environment, or in the user's files."""
    import os

    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        patch.delenv(name)
    patch.setenv("HOME", str(home))


def _serve() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given: dict[str, Any] = {
        "endpoint_url": f"http://{host}:{port}",
        "region_name": "eu-central-1",
        "aws_access_key_id": "root",
        "aws_secret_access_key": "root",
    }
    store, users = boto3.client("s3", **given), boto3.client("iam", **given)
    for bucket in (BUCKET, MODELS):
        store.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    users.create_user(UserName="writer")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    users.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=json.dumps(policy))
    key = users.create_access_key(UserName="writer")["AccessKey"]
    told = {"endpoint": given["endpoint_url"], "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
    request = urllib.request.Request(
        f"{given['endpoint_url']}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=30).close()
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()
    sys.stdin.read()  # until whoever started it ends


if __name__ == "__main__":
    _serve()
