"""Copies of models on a host: how many bytes they take, which go first, and whether they are still what was copied."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_store import faulty_store

from sparktorch_assets.orchestration.resources import ModelLoaderResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.stores.remote_root import RemoteRoot

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from sparktorch_assets.stores.remote_root import RemoteRoot

print("up", flush=True)
sys.stdin.readline()
root = RemoteRoot(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
root.fetch([sys.argv[4]], again=True)
print(sum(file.stat().st_size for file in (root.path / sys.argv[4]).rglob("*") if file.is_file()), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def models(tmp_path):
    """A folder of three models of 1,000 bytes each, in two files, and its URI."""
    for name in "abc":
        (tmp_path / "models" / name).mkdir(parents=True)
        for file in ("weights", "labels"):
            (tmp_path / "models" / name / file).write_bytes(os.urandom(500))
    return f"file://{tmp_path}/models"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def user(uri, cache, most_bytes, name):
    """A process that fetches a model once it is told to, and uses it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, uri, str(cache), str(most_bytes), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def fetch(uri, cache, most_bytes, name):
    """By a process that ends afterwards."""
    process = user(uri, cache, most_bytes, name)
    out, _ = process.communicate("go\n\n", timeout=60)
    assert out == "up\n1000\n"


def copied(cache):
    return {path.name for path in cache.glob("copies/*/*") if path.is_dir()}


@pytest.mark.slow
@pytest.mark.promise("T168")
def test_the_least_recently_used_copies_go_first_but_none_that_a_process_uses(models, cache):
    fetch(models, cache, 2_500, "a")
    fetch(models, cache, 2_500, "b")
    fetch(models, cache, 2_500, "a")
    fetch(models, cache, 2_500, "c")
    assert copied(cache) == {"a", "c"}
    holder = user(models, cache, 2_500, "a")
    go(holder)
    assert [holder.stdout.readline() for _ in range(2)] == ["up\n", "1000\n"]
    fetch(models, cache, 2_500, "c")  # now a is the one that was not used for longest
    fetch(models, cache, 2_500, "b")
    assert copied(cache) == {"a", "b"}
    fetch(models, cache, 500, "c")  # no room at all
    assert copied(cache) == {"a", "c"}
    holder.communicate("\n")
    fetch(models, cache, 500, "b")
    assert copied(cache) == {"b"}


@pytest.mark.slow
@pytest.mark.promise("T169")
def test_eight_processes_that_start_at_once_cause_one_download(tmp_path, cache, models):
    with faulty_store() as store:
        uri = store.store.upload(tmp_path / "models", f"{tmp_path.name}/models")
        processes = [user(uri, cache, 10_000, "a") for _ in range(8)]
        assert [process.stdout.readline() for process in processes] == ["up\n"] * 8
        time.sleep(6)  # what was written in the last five seconds is copied once more by the next process that asks
        store.reset()
        for process in processes:
            go(process)
        assert [process.stdout.readline() for process in processes] == ["1000\n"] * 8
        downloads = [
            request.key
            for request in store.requests
            if request.command == "GET"
            and f"{tmp_path.name}/models/a/" in request.key
            and not request.key.startswith("list")
        ]
        for process in processes:
            process.communicate("\n")
        assert sorted(key.rpartition("/")[2] for key in downloads) == ["labels", "weights"]


@pytest.mark.promise("T170")
@pytest.mark.parametrize("how", ["cut", "changed", "changed at the same time", "deleted"])
def test_a_damaged_copy_is_noticed_and_made_again(models, cache, how):
    remote = RemoteRoot(models, cache)
    remote.fetch(["a"], again=True)
    original = Path(models.removeprefix("file://")) / "a" / "weights"
    copy = remote.path / "a" / "weights"
    before = copy.stat()
    damaged = bytes(500)
    if how == "deleted":
        copy.unlink()
    else:
        copy.write_bytes(damaged[:100] if how == "cut" else damaged)
        if how == "changed at the same time":
            os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    state = next(cache.glob("copies/*/.objects.json"))
    known = json.loads(state.read_text())
    for file, noted in known.items():  # as if the objects had been written long ago
        found = original.parents[1].joinpath(file).stat()
        known[file] = [found.st_size, found.st_mtime_ns, *noted[2:]]
    state.write_text(json.dumps(known))
    remote.fetch(["a"], again=True, verify=how == "changed at the same time")
    assert copy.read_bytes() == original.read_bytes()


def test_a_note_says_so_if_the_copies_in_use_take_too_much(models, cache, caplog):
    RemoteRoot(models, cache, 1_500).fetch(["a", "b"], again=True)
    assert "processes of this host use all of them; raise model_cache_gb" in caplog.text


@pytest.mark.promise("T168")
def test_the_bound_comes_from_the_resource():
    assert ModelLoaderResource(model_cache_gb=1.5).build([]).store.most_bytes == 1_500_000_000
    assert ModelLoaderResource().build([]).store.most_bytes == ModelLoader().store.most_bytes == 50 * 10**9
