"""Model files made to fill the memory: each is refused by its sizes, before anything is allocated for it.

Memory is measured in a process of its own, against one that reads a good file.
"""

import contextlib
import json
import os
import struct
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.file_bounds import MAX_INDEX_BYTES, check_checkpoint
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import CategoricalFeature, MlTask, ModelSpec, NumericFeature, TextFeature

ALLOWED_MB = 250
_MEASURED = """
import resource, sys
from pathlib import Path
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature
spec = ModelSpec(weights=sys.argv[2], architecture="torch.nn:Linear", arguments={"in_features": 2, "out_features": 3})
task = MlTask(name="t", input="i", model=spec, features=[NumericFeature(columns=["a", "b"])], labels=["x", "y", "z"])
import torch, safetensors.torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    ModelLoader(sys.argv[1]).bring_up_model(task, gpu=False)
    print("loaded")
except Exception as error:
    print(type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


class ByteArray:
    """A pickle of a few bytes that makes 500 MB, by a function that torch's safe reader allows."""

    def __reduce__(self):
        return bytearray, (500_000_000,)


def good(path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), path)


def deflated(path):
    """150 million zeros in less than a megabyte."""
    torch.save(torch.nn.Linear(2, 3).state_dict(), path.with_suffix(".good"))
    with (
        zipfile.ZipFile(path.with_suffix(".good")) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            with new.open(name, "w") as record:
                record.write(old.read(name))
                for _ in range(150 if "/data/" in name else 0):
                    record.write(bytes(1_000_000))


def deflated_version(path):
    """A record that torch reads as it opens the archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("m/version", b"3" + bytes(400_000_000))
        new.writestr("m/data.pkl", b"")


def byte_array(path):
    torch.save({"weight": ByteArray()}, path)


def legacy_byte_array(path):
    torch.save({"weight": ByteArray()}, path, _use_new_zipfile_serialization=False)


def long_pickle(path):
    """Eight million empty dicts, one byte each, in a pickle that is stored as it is."""
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("m/version", "3")
        new.writestr("m/data.pkl", b"\x80\x02(" + b"}" * 8_000_000 + b"l.")


def long_legacy_pickle(path):
    torch.save({}, path, _use_new_zipfile_serialization=False)
    start = path.read_bytes()
    head = start[: start.rindex(b"\x80\x02}", 0, start.rindex(b"\x80\x02"))]
    path.write_bytes(head + b"\x80\x02(" + b"}" * 8_000_000 + b"l.")


def long_header(path):
    """A safetensors header of 20 MB for one tensor."""
    header = {"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header["__metadata__"] = {str(number): "x" for number in range(1_500_000)}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))


BOMBS = {
    deflated: "m.pt",
    deflated_version: "m.pt",
    byte_array: "m.pt",
    legacy_byte_array: "m.pt",
    long_pickle: "m.pt",
    long_legacy_pickle: "m.pt",
    long_header: "m.safetensors",
}


@pytest.mark.slow
@pytest.mark.promise("M18")
@pytest.mark.parametrize("bomb", [good, *BOMBS], ids=lambda bomb: bomb.__name__)
def test_a_small_file_cannot_fill_the_memory(bomb, tmp_path):
    """Whatever the trick, the process grows by less than a fifth of what the file stands for."""
    name = BOMBS.get(bomb, "m.pt")
    bomb(tmp_path / name)
    found = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(tmp_path), name], capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()
    assert found[0].startswith("loaded" if bomb is good else "ModelError"), found
    assert int(found[-1]) < ALLOWED_MB
    assert ("over the limit of 4,194,304" in found[0]) == bomb.__name__.startswith("long_")


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_archive_with_something_around_it_is_refused(place, tmp_path):
    """Two readers of one file could find two directories in it: ours the harmless one, torch's the other."""
    good(tmp_path / "m.pt")
    content = (tmp_path / "m.pt").read_bytes()
    around = b"PK\x03\x04" + bytes(100)
    (tmp_path / "m.pt").write_bytes(around + content if place == "before" else content + around)
    with pytest.raises(ModelError, match=r"zip"):
        check_checkpoint(tmp_path / "m.pt")


def _safetensors(path, tensors, data):
    text = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


@pytest.mark.parametrize(
    ("tensors", "data"),
    [
        ({"weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}, 8),
        ({"weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}, 48),
        (
            {
                "weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
                "bias": {"dtype": "F32", "shape": [3], "data_offsets": [12, 24]},
            },
            24,
        ),
        ({"weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 24]}}, 24),
        ({"weight": {"dtype": "F32", "shape": [-3, -2], "data_offsets": [0, 24]}}, 24),
        ({"weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [24, 0]}}, 24),
        ([[]], 0),
    ],
    ids=["beyond the end", "surplus", "overlap", "overflow", "negative", "backwards", "no object"],
)
def test_safetensors_offsets_must_tell_the_file(tensors, data, tmp_path):
    """Offsets outside of the file, in one another, or at odds with the shape are a ModelError."""
    _safetensors(tmp_path / "m.safetensors", tensors, data)
    with pytest.raises(ModelError):
        _bring_up(tmp_path, "m.safetensors")


@pytest.mark.parametrize("length", [0, 7, 2**63, 2**64 - 1, MAX_INDEX_BYTES + 1])
def test_safetensors_lengths_are_not_trusted(length, tmp_path):
    """A header's length says nothing that the file does not hold."""
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(ModelError):
        _bring_up(tmp_path, "m.safetensors")


def _bring_up(root, name):
    spec = ModelSpec(weights=name, architecture="torch.nn:Linear", arguments={"in_features": 2, "out_features": 3})
    task = MlTask(name="t", input="i", model=spec, features=[NumericFeature(columns=["a", "b"])], labels=list("xyz"))
    return ModelLoader(root).bring_up_model(task, gpu=False)


@pytest.mark.slow
def test_every_way_to_cut_or_flip_a_checkpoint_is_a_model_error_or_harmless(tmp_path):
    """A damaged file never raises anything but ModelError, in all three formats."""
    net = torch.nn.Linear(2, 3)
    torch.save(net.state_dict(), tmp_path / "new.pt")
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(net.state_dict(), tmp_path / "m.safetensors")
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for at in range(0, len(content), max(1, len(content) // 60)):
            flipped = bytearray(content)
            flipped[at] ^= 0xFF
            for damaged in (content[:at], bytes(flipped)):
                path.unlink()
                path.write_bytes(damaged)
                with contextlib.suppress(ModelError):
                    _bring_up(tmp_path, path.name)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"c": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"c": [["a"]]}',
        b'{"c": [{}]}',
        b'{"c": "ab"}',
        b"[]",
        b"\xff\xfe",
        b"",
        b'{"c": [' + b"9" * 10_000 + b"]}",
    ],
)
@pytest.mark.parametrize(
    "feature",
    [CategoricalFeature(columns=["c"], vocabulary="v.json"), TextFeature(column="c", tokenizer="v.json")],
    ids=["vocabulary", "tokenizer"],
)
def test_odd_json_is_a_model_error(content, feature, tmp_path):
    """Depth, types, encodings: no odd file ends in a RecursionError or in a panic of the tokenizer library."""
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"v\.json"):
        make_encoder(feature, tmp_path)


@pytest.mark.promise("M18")
@pytest.mark.parametrize("feature", [CategoricalFeature, TextFeature])
def test_long_json_is_refused_unread(feature, tmp_path):
    """A file over the limit is not read at all (this one is a hole of a terabyte)."""
    (tmp_path / "v.json").touch()
    os.truncate(tmp_path / "v.json", 1 << 40)
    given = {"columns": ["c"], "vocabulary": "v.json"} if feature is CategoricalFeature else {"column": "c"}
    given |= {} if feature is CategoricalFeature else {"tokenizer": "v.json"}
    with pytest.raises(ModelError, match="over the limit"):
        make_encoder(feature(**given), tmp_path)
