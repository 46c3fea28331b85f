"""A store's key is found nowhere after a run whose lake and models it opens: no log, no database, no file of the table."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guarded_store import BUCKET, MODELS, GuardedStore, guarded_store
from tiny_onnx import write_linear

HERE = Path(__file__).parent
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION")


@pytest.fixture(scope="module")
def store():
    with guarded_store() as found:
        yield found


def spellings(secret: str) -> list[bytes]:
    """The secret as it is, and as it is within a text in base64, wherever it begins there."""
    raw = secret.encode()
    return [raw, *(base64.b64encode(b"x" * shift + raw)[4 if shift else 0 : -4] for shift in range(3))]


def leaks(secret: str, home: Path, store: GuardedStore) -> Iterator[str]:
    forms = spellings(secret)
    texts = [(str(path), path.read_bytes()) for path in home.rglob("*") if path.is_file()]
    for name, content in [*texts, *store.texts()]:
        if any(form in content for form in forms):
            yield name


def run(how: str, home: Path, store: GuardedStore, options: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """The program, with every logger at DEBUG; its output is a file below `home`."""
    (home / "net").mkdir()
    (home / "spark-events").mkdir()
    write_linear(home / "net" / "m.onnx")
    store.upload(home / "net", MODELS, "net")
    environment = {name: value for name, value in os.environ.items() if name not in CREDENTIALS} | {
        "HOME": str(home),
        "DAGSTER_HOME": str(home),
        "SPARKTORCH_MODEL_CACHE": str(home / "cache"),
        "CANARY_SECRET": options["aws_secret_access_key"],
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    if how == "connect":
        environment |= {
            "SPARK_TESTING": "1",
            "SPARK_CONNECT_LOG_LEVEL": "debug",
        }  # any free port; every plan in the log
    if how == "environment":
        environment |= {
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": options["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": options["aws_secret_access_key"],
        }
    with (home / "output").open("wb") as output:
        return subprocess.run(
            [sys.executable, "-W", "ignore", str(HERE / "secret_program.py"), how, str(home)],
            input=json.dumps(options).encode(),
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=560,
            check=False,
        )


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(600)
@pytest.mark.promise("T150")
@pytest.mark.parametrize("how", ["envvar", "plain", "environment", "connect"])
def test_a_run_leaves_the_key_nowhere(how: str, store: GuardedStore, tmp_path: Path):
    """Given by the resources as an EnvVar (once with a Connect session), by a call, or by the environment. Searched are the logs of driver and workers,
    Dagster's databases and compute logs, Spark's event log, and every object of the lake, in plain and in base64."""
    done = run(how, tmp_path, store, store.options)
    output = (tmp_path / "output").read_text()
    assert done.returncode == 0, output[-3000:]
    assert ("DEBUG:py4j" if how != "connect" else "Executing plan") in output
    assert "RUN_SUCCESS" in output
    assert list(tmp_path.glob("spark-events/*"))
    assert list(tmp_path.rglob("*.db"))
    assert any(name.endswith(".json") and "_delta_log" in name for name, _ in store.texts())
    assert list(leaks(store.secret, tmp_path, store)) == []
    store.client.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": name} for name, _ in store.texts() if "predictions" in name]}
    )


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(600)
@pytest.mark.promise("T150")
def test_a_refused_key_is_in_no_message(store: GuardedStore, tmp_path: Path):
    """The run fails when it opens its tables, and Dagster stores the error with its traceback."""
    wrong = "wrong" + store.secret[::-1]
    done = run("refused", tmp_path, store, store.options | {"aws_secret_access_key": wrong})
    output = (tmp_path / "output").read_text()
    assert done.returncode != 0
    assert "ACCESS_DENIED" in output
    assert list(leaks(wrong, tmp_path, store)) == []
