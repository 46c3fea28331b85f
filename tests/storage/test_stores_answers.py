"""What a store answers may repeat what it was sent: no error shows the secrets in it. Credentials reach Google's store."""

import html
import json
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from guarded_store import without_environment

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log import checkpoint
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.own_metadata import keep_metadata
from sparktorch_assets.lake.table import Table
from sparktorch_assets.spark.worker_errors import find_marked, marked
from sparktorch_assets.storage.hidden import hide_secrets, without_store_secrets
from sparktorch_assets.storage.scopes import StorageScopes, set_storage_options

TOKEN, KEY = "t0k3n&c4n4ry/+=", "k3y<c4n4ry>"


@contextmanager
def answering(status: int, body: str) -> Iterator[tuple[str, list[str]]]:
    """A server that gives everybody the same answer: its address, and the credentials that it gets."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization") or "")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_POST = do_HEAD = do_GET  # noqa: N815  (the names that the server calls)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch, tmp_path):
    without_environment(monkeypatch, tmp_path)
    yield
    StorageScopes().use()


@pytest.fixture
def repeats():
    """A store that answers as S3 does to an expired token: with the token."""
    body = f"<Error><Code>InvalidToken</Code><Message>{escape(TOKEN)}</Message><Token-0>{escape(TOKEN)}</Token-0><Key>{escape(KEY)}</Key></Error>"
    with answering(400, body) as (endpoint, _):
        options = {"endpoint": endpoint, "allow_http": "true", "region": "eu", "aws_access_key_id": "id"}
        yield options | {"aws_secret_access_key": KEY, "aws_session_token": TOKEN}


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.promise("T150")
def test_a_store_that_repeats_the_token_shows_it_to_nobody(repeats):
    with pytest.raises(OSError, match="c4n4ry"):  # what the errors would contain
        DeltaTable("s3://b/t", storage_options=repeats)
    set_storage_options("s3://b", repeats)
    with pytest.raises(TableError, match=r"<Token-0>\*\*\*</Token-0>") as caught:
        _ = Table("s3://b/t")
    assert "c4n4ry" not in shown(caught.value)


def test_a_worker_sends_no_secret_with_its_error(repeats):
    set_storage_options("s3://b", repeats)
    error, trace = find_marked(str(marked(ValueError(f"answer: {TOKEN}"), "testing")))
    assert str(error) == "answer: *** [testing]"
    assert "c4n4ry" not in shown(trace)


@pytest.mark.parametrize("error", [ValueError(f"a {KEY} b"), OSError(5, f"a {KEY} b"), KeyError(1, f"a {KEY} b")])
def test_secrets_are_taken_out_of_errors_of_any_kind(repeats, error):
    set_storage_options("s3://b", repeats)
    assert hide_secrets(error) is error
    assert "***" in shown(error)
    assert "c4n4ry" not in shown(error)


def test_without_options_an_error_keeps_its_text(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")  # too short to be one
    assert str(hide_secrets(ValueError(f"{KEY}, tested"))) == f"{KEY}, tested"


@pytest.mark.promise("T150")
def test_a_secret_of_the_environment_is_hidden_as_well(repeats, monkeypatch):
    for name, option in (("ACCESS_KEY_ID", "access_key_id"), ("SECRET_ACCESS_KEY", "secret_access_key")):
        monkeypatch.setenv(f"AWS_{name}", repeats[f"aws_{option}"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_ENDPOINT_URL", repeats["endpoint"])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "eu")
    with pytest.raises(TableError, match=r"<Token-0>\*\*\*</Token-0>") as caught:
        _ = Table("s3://b/t")
    assert "c4n4ry" not in shown(caught.value)


def test_a_commit_that_a_store_refuses_shows_no_secret(repeats):
    set_storage_options("s3://b", repeats)
    with pytest.raises((TableError, OSError)) as caught:
        commit_parts("s3://b/t", pa.schema([("x", "int64")]), add=(), remove=(), metadata={}, read_version=None)
    assert "c4n4ry" not in shown(caught.value)


@pytest.mark.promise("T150")
def test_what_goes_wrong_after_a_commit_is_logged_without_secrets(repeats, caplog, monkeypatch):
    """The commit has succeeded, so nothing is raised: neither by a checkpoint nor by our own file."""

    class Delta:
        def create_checkpoint(self) -> None:
            DeltaTable("s3://b/t", storage_options=repeats)

    set_storage_options("s3://b", repeats)
    monkeypatch.setattr(checkpoint, "open_delta", lambda _: Delta())
    with caplog.at_level(logging.DEBUG, "sparktorch_assets"):
        checkpoint.keep_log_short(Folder("s3://b/t"), 10, {}, [])
        keep_metadata(Folder("s3://b/t"), {})
    assert ["***" in record.getMessage() for record in caplog.records] == [True, True]
    assert "c4n4ry" not in caplog.text


@pytest.mark.promise("T150")
def test_a_listing_that_a_store_refuses_shows_no_secret(repeats):
    set_storage_options("s3://b", repeats)
    with pytest.raises(OSError, match=r"\*\*\*") as caught:
        list(Folder("s3://b/t").files())
    assert "c4n4ry" not in shown(caught.value)


@pytest.mark.promise("T150")
@pytest.mark.parametrize(
    "spell",
    [str, repr, json.dumps, quote_plus, html.escape, lambda secret: quote(secret, safe="").lower()],
)
def test_a_secret_is_hidden_however_it_is_spelled(spell):
    secret = "k3y/ c4n4ry\"'\\"
    set_storage_options("s3://b", {"aws_access_key_id": "id", "aws_secret_access_key": secret})
    assert without_store_secrets(f"<{spell(secret)}>").strip("<>\"'") == "***"


@pytest.mark.promise("T150")
def test_a_secret_that_begins_with_another_one_is_hidden_whole():
    """Nothing says which of the two is replaced first."""
    for bucket, secret in (("b1", "k3y"), ("b2", "k3y-c4n4ry"), ("longer", "k3y")):
        set_storage_options(f"s3://{bucket}", {"aws_access_key_id": "id", "aws_secret_access_key": secret})
    assert without_store_secrets("<k3y-c4n4ry> <k3y>") == "<***> <***>"


@pytest.mark.promise("T150")
def test_the_signature_of_a_sas_token_is_hidden_wherever_it_stands():
    token = "?sv=2022-11-02&sp=rl&sig=c4n4ry%2Bx%2F%3D&se=2027"
    set_storage_options("az://c", {"account_name": "a", "sas_token": token})
    text = without_store_secrets("GET /c?comp=list&se=2027&sig=c4n4ry%2Bx%2F%3D&sv=2022-11-02 (c4n4ry+x/=)")
    assert text == "GET /c?comp=list&se=2027&sig=***&sv=2022-11-02 (***)"


def service_account(path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": key.private_bytes(*form).decode(),
        "client_email": "reader@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://127.0.0.1:9/token",
    }
    path.write_text(json.dumps(account))
    return str(path)


def test_googles_store_gets_the_credentials_of_the_accounts_file(tmp_path, monkeypatch):
    """Made with the environment's help, and leaving it as it was."""
    from pyarrow import fs

    from sparktorch_assets.storage.opening import open_file_system

    real = fs.GcsFileSystem
    with answering(404, "") as (endpoint, seen):
        local = {"endpoint_override": endpoint.removeprefix("http://"), "scheme": "http"}
        monkeypatch.setattr(fs, "GcsFileSystem", lambda **given: real(**given, **local))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "before")
        set_storage_options("gs://b", {"google_service_account": service_account(tmp_path / "account.json")})
        found, path = open_file_system("gs://b/x")
        assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == "before"
        assert found.get_file_info(path).type == fs.FileType.NotFound
    assert seen
    assert all(one.startswith("Bearer ey") for one in seen)
