"""The whole sample graph with its sources, its models and its lake in an object store."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from s3_store import s3_store

from sparktorch_assets.lake.files.folder import Folder

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("sample_in_store.py")
FLIGHTS_A_MONTH = 200
TABLES = (
    "flights",
    "digits",
    "messages",
    "messages__rejected",
    "flight_risk",
    "similar_messages",
    *(
        f"predictions/{task}"
        for task in (
            "arrival_delay",
            "cancellation",
            "component",
            "digit",
            "digit_challenger",
            "language",
            "language_bert",
            "late_arrival",
            "message_embedding",
            "message_topics",
        )
    ),
)


@pytest.fixture
def data(tmp_path):
    """Two months of a few flights, all digits, every fortieth message and some French ones; a malformed message."""
    data = tmp_path / "data"
    (data / "flights").mkdir(parents=True)
    (data / "messages").mkdir()
    for month in ("2013-01", "2013-02"):
        with gzip.open(ROOT / f"data/flights/{month}.csv.gz", "rt") as source:
            lines = [next(source) for _ in range(1 + FLIGHTS_A_MONTH)]
        with gzip.open(data / f"flights/{month}.csv.gz", "wt") as target:
            target.writelines(lines)
    with gzip.open(ROOT / "data/messages/messages.jsonl.gz", "rt", encoding="utf-8") as source:
        messages = [line for row, line in enumerate(source) if row % 40 == 0 or (row % 4 == 0 and '"fr"' in line)]
    with gzip.open(data / "messages/messages.jsonl.gz", "wt", encoding="utf-8") as target:
        target.writelines([*messages, '{"message_id": "no number"}\n'])
    shutil.copytree(ROOT / "data/digits", data / "digits")
    shutil.copytree(ROOT / "data/models", data / "models")
    return data


def materialize(folder, *data):
    """In one process, with one session; returns what it says of the last run."""
    (folder / "home").mkdir()
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder / "home"), *map(str, data)],
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SPARKTORCH_MODEL_CACHE": str(folder / "cache")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1_700,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def rows(lake, table):
    """As text, since rows hold lists; without the name of the source file."""
    found = DeltaTable(f"{lake}/{table}").to_pyarrow_table()
    return sorted(str({name: value for name, value in row.items() if name != "source"}) for row in found.to_pylist())


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(2_000)
@pytest.mark.promise("T157")
@pytest.mark.promise("T158")
@pytest.mark.promise("T159")
def test_the_rows_are_those_of_the_graph_in_a_folder(data, tmp_path):
    """And a second run in the store changes nothing, and leaves no staging folder and no temporary file."""
    with s3_store() as store:
        uri = store.upload(data, "project/data")
        changed = materialize(tmp_path, data, uri, uri).split("\n")
        lake = f"{uri}/lake"
        for table in TABLES:
            assert rows(lake, table) == rows(str(data / "lake"), table), table
        assert len(rows(lake, "messages__rejected")) == 1
        assert [line for line in changed if line.endswith("True")] == []
        assert len([line for line in changed if line.endswith("False")]) >= 14
        left = [entry.path for entry in Folder(lake).files() if "_staging" in entry.path or entry.path.endswith(".tmp")]
        assert left == []
