"""Columns of paths and URIs: what cannot be read costs its row, reads overlap, and a store that is gone ends the run."""

import contextlib
import io
import os
import threading
from collections import Counter
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import fs
from sounds import noise, stored

from sparktorch_assets.errors import HostError, InputSchemaError, TaskError
from sparktorch_assets.predict.encode import stored_files
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.encode.stored_files import MAX_FILE_BYTES, PATIENCE, READERS, StoredFiles, shown
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import AudioFeature, BatchPolicy, ImageFeature, MlTask, ModelSpec, RegressionOutput

PLACE = "slow://bucket"


class Store(fs.FileSystemHandler):
    """A store in memory, under `bucket`. `wait` is called before a file is opened."""

    def __init__(self, files, wait=lambda _path: None):
        self.files, self.wait = files, wait
        self.opened = Counter()

    def open_input_file(self, path):
        self.opened[path] += 1
        self.wait(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        return pa.BufferReader(self.files[path])

    def _not_here(self, *_arguments, **_named):
        raise NotImplementedError

    get_type_name = lambda self: "slow"  # noqa: E731
    get_file_info = get_file_info_selector = open_input_stream = normalize_path = _not_here
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _not_here
    move = copy_file = open_output_stream = open_append_stream = _not_here


@contextlib.contextmanager
def mounted(store):
    """The store at PLACE, in the place of one of Arrow's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_files, "open_store", lambda *_: (fs.PyFileSystem(store), "bucket"))
        yield store


def png(grey):
    out = io.BytesIO()
    Image.fromarray(np.full((2, 2), grey, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


IMAGE = {"column": "i", "height": 2, "width": 2, "channels": 1, "read": "uri"}


def encode(addresses, **declared):
    encoder = make_encoder(ImageFeature(**IMAGE | declared), ".")
    encoded = encoder.encode(pa.record_batch({"i": pa.array(addresses, pa.string())}))
    (x_BCHW,) = encoded.collate(np.arange(len(addresses)))
    return (x_BCHW[:, 0, 0, 0] * 255).round().int().tolist(), encoded.failures


@pytest.mark.promise("M202")
def test_paths_and_uris_are_read_and_bad_ones_cost_their_row(tmp_path, monkeypatch):
    """A dead link, a folder, a pipe, a file that is too big, a way out of the folder, and an unknown scheme."""
    folder = tmp_path / "with 100% ümlaut"
    folder.mkdir()
    for grey in (10, 20, 30):
        (folder / f"{grey}.png").write_bytes(png(grey))
    (folder / "broken.png").write_bytes(b"broken")
    (folder / "dead").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    with (folder / "big").open("wb") as big:
        big.truncate(MAX_FILE_BYTES + 1)
    good = ["10.png", str(folder / "20.png"), (folder / "30.png").as_uri()]
    bad = {
        "dead": "FileNotFoundError: there is no file: ",
        f"{folder}": "IsADirectoryError: this is a folder: ",
        "pipe": "OSError: cannot be read: ",
        "big": "ValueError: a file of 268,435,457 bytes is not read, only up to 268,435,456: ",
        "../with 100% ümlaut/10.png": "ValueError: a path with .. may lead out of the feature's folder: ",
        "what://bucket/a": "OSError: cannot be read: what://bucket/a",
        "broken.png": "UnidentifiedImageError: ",
        "": "IsADirectoryError: ",
    }
    greys, failures = encode([good[0], *bad, None, *good[1:]], folder=str(folder))
    rows = [0, len(bad) + 2, len(bad) + 3]
    assert [greys[row] for row in rows] == [10, 20, 30]
    assert sorted(failures) == list(range(1, len(bad) + 2))
    for row, reason in enumerate(bad.values(), 1):
        assert failures[row].text.startswith(f"encode: {reason}"), failures[row].text
    assert str(folder / "dead") in failures[1].message
    _, failures = encode(["10.png"])
    assert failures[0].message == "a relative path needs the feature's folder: 10.png"
    (tmp_path / "link").symlink_to(folder)
    assert encode(["10.png"], folder=(tmp_path / "link").as_uri()) == ([10], {})


@pytest.mark.promise("M202")
def test_recordings_are_read_as_images_are(tmp_path):
    waves = [noise(100), noise(300, 1)]
    for number, wave in enumerate(waves):
        (tmp_path / f"{number}.wav").write_bytes(stored(wave))
    feature = AudioFeature(column="a", sample_rate=8_000, read="uri", folder=str(tmp_path))
    names = pa.array(["1.wav", "0.wav", "2.wav", "1.wav"])
    encoded = make_encoder(feature, ".").encode(pa.record_batch({"a": names}))
    values_BT, mask_BT = encoded.collate(np.array([0, 1, 3]))
    for row, number in enumerate([1, 0, 1]):
        assert np.array_equal(values_BT[row][mask_BT[row]], waves[number])
    assert list(encoded.failures) == [2]


@pytest.mark.promise("M203")
def test_files_are_read_at_once_and_equal_addresses_one_time():
    together = threading.Barrier(READERS, timeout=30)
    names = [f"{PLACE}/{grey}" for grey in range(READERS)]
    files = {f"bucket/{grey}": png(grey) for grey in range(READERS)}
    with mounted(Store(files, lambda _path: together.wait())) as store:
        greys, failures = encode([*names, *names[::-1], f"{PLACE}/3"])
    assert (greys, failures) == ([*range(READERS), *reversed(range(READERS)), 3], {})
    assert set(store.opened.values()) == {1}


class Waits(torch.nn.Module):
    """Its second window is read while it computes the first, or it waits in vain."""

    read_ahead = threading.Event()

    def forward(self, x_BCHW):
        assert self.read_ahead.wait(30)
        return x_BCHW[:, 0, 0, 0] * 255


def make_waits(weights, device):
    return Waits()


@pytest.mark.promise("M203")
def test_the_next_window_is_read_while_the_network_computes(monkeypatch):
    """Also where there is a single core, since reading is waiting."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    Waits.read_ahead.clear()

    def wait(path):
        if path == "bucket/7":
            Waits.read_ahead.set()

    task = MlTask(
        name="waits",
        model=ModelSpec(factory=f"{__name__}:make_waits"),
        features=[ImageFeature(**IMAGE)],
        output=RegressionOutput(),
        batch=BatchPolicy(batch_size=4, window_bytes=64),
    )
    batch = pa.record_batch({"i": pa.array([f"{PLACE}/{grey}" for grey in range(8)])})
    with mounted(Store({f"bucket/{grey}": png(grey) for grey in range(8)}, wait)):
        (found,) = predict_map(0, [batch], task)
    assert [row["predicted_value"] for row in found.to_pylist()] == pytest.approx(range(8), abs=1e-4)


@pytest.mark.promise("M204")
def test_a_store_that_hangs_costs_a_row_and_one_that_never_answers_the_run(monkeypatch):
    monkeypatch.setattr(stored_files, "SLOW_S", 0.01)
    monkeypatch.setattr(stored_files, "TIMEOUT_S", 0.1)
    ended = threading.Event()

    def wait(path):
        if "hangs" in path:
            ended.wait(60)

    with mounted(Store({"bucket/1": png(1)}, wait)):
        files = StoredFiles(None)
        for _ in range(2):  # a file in between says that the store is there
            for _ in range(PATIENCE - 1):
                with (
                    pytest.raises(TimeoutError, match="no answer within 0.1 s: slow://bucket/hangs"),
                    files.content(f"{PLACE}/hangs"),
                ):
                    pass
            with files.content(f"{PLACE}/1") as encoded:
                assert encoded == png(1)
        for _ in range(2 * PATIENCE):  # these fail fast, and say nothing against the store
            with pytest.raises(FileNotFoundError), files.content(f"{PLACE}/none"):
                pass
        for _ in range(PATIENCE):
            with pytest.raises(TimeoutError), files.content(f"{PLACE}/hangs"):
                pass
        with (
            pytest.raises(HostError, match="32 files in a row could not be read from slow://bucket"),
            files.content(f"{PLACE}/1"),
        ):
            pass
        with pytest.raises(HostError, match="run again once it does"):
            encode([f"{PLACE}/hangs{number}" for number in range(3 * PATIENCE)])
    ended.set()


@pytest.mark.promise("M204")
def test_held_bytes_are_bounded(monkeypatch):
    """A file waits until others are decoded; one that is larger than the bound is read alone."""
    monkeypatch.setattr(stored_files, "MAX_HELD_BYTES", 100)
    held, most, lock = [0], [0], threading.Lock()
    sizes = [60, 30, 30, 10, 99, 150, 1, 40] * 5

    def hold(files, number):
        with files.content(f"{PLACE}/{number}") as encoded:
            with lock:
                held[0] += len(encoded)
                most[0] = max(most[0], held[0] if held[0] != 150 else 0)
            threading.Event().wait(0.002)
            with lock:
                held[0] -= len(encoded)

    with mounted(Store({f"bucket/{number}": bytes(size) for number, size in enumerate(sizes)})):
        files = StoredFiles(None)
        threads = [threading.Thread(target=hold, args=(files, number)) for number in range(len(sizes))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert 0 < most[0] <= 100


@pytest.mark.promise("M205")
@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("s3://key:word@bucket/a.png", "s3://***@bucket/a.png"),
        ("s3://bucket/a.png?secret_key=word", "s3://bucket/a.png"),
        ("gs://bucket/a?X-Signature=word#word", "gs://bucket/a"),
        ("/data/what?.png", "/data/what?.png"),
    ],
)
def test_addresses_are_shown_without_secrets(address, safe):
    assert shown(address) == safe


@pytest.mark.promise("M205")
def test_reasons_hold_no_secrets(monkeypatch):
    """Nor does what Arrow says about an address that it cannot open."""

    def refuse(place, _options):
        raise pa.ArrowInvalid(f"Cannot parse {place}")

    monkeypatch.setattr(stored_files, "open_store", refuse)
    _, failures = encode(["s3://key:word@bucket/a", "s3://bucket/a?token=word", "s3://bucket/a"])
    assert [one.message for _, one in sorted(failures.items())] == [
        "cannot be read: s3://***@bucket/a (ArrowInvalid)",
        "cannot be read: s3://bucket/a (ArrowInvalid)",
        "cannot be read: s3://bucket/a (Cannot parse s3://bucket)",
    ]


@pytest.mark.promise("M202")
@pytest.mark.parametrize(("scheme", "key"), [("s3", "a b/1%.png"), ("s3a", "a b/1%.png")])
@pytest.mark.slow
def test_an_s3_bucket_is_read(scheme, key, monkeypatch):
    """By the names that Arrow and Hadoop give to it, with relative paths under a folder."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name, value in {
            "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint)
        client.create_bucket(Bucket="photos")
        client.put_object(Bucket="photos", Key=key, Body=png(77))
        folder = f"{scheme}://photos?endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"
        greys, failures = encode([key, "none.png", "a b"], folder=folder)
    finally:
        server.stop()
    assert greys[0] == 77
    assert sorted(failures) == [1, 2]
    assert failures[1].message == f"there is no file: {scheme}://photos/none.png"


@pytest.mark.promise("M202")
def test_the_columns_type_must_fit():
    with pytest.raises(InputSchemaError, match="column 'i' has type binary; it must hold strings"):
        make_encoder(ImageFeature(**IMAGE), ".").encode(pa.record_batch({"i": pa.array([b"x"])}))
    task = {"name": "t", "model": ModelSpec(factory="a:b"), "output": RegressionOutput()}
    by_uri, by_bytes = ImageFeature(**IMAGE), ImageFeature(**IMAGE | {"read": "bytes"})
    for feature, kind, message in (
        (by_uri, "binary", "with read: uri it must be string.*leave read out"),
        (by_uri, "int64", "with read: uri it must be string, the paths or URIs of files$"),
        (by_bytes, "string", "must be binary.*set read: uri"),
        (AudioFeature(column="i", sample_rate=8_000), "string", "audio feature 'i'.*FLAC.*set read: uri"),
    ):
        with pytest.raises(InputSchemaError, match=message):
            MlTask(**task, features=[feature]).check_input({"i": kind})
    with pytest.raises(TaskError, match="ImageFeature.folder='photos' depends on the directory"):
        ImageFeature(**IMAGE, folder="photos")


@pytest.mark.promise("M224")
@pytest.mark.parametrize("sign", ["#", "?"])
def test_a_sign_that_ends_the_path_of_a_uri_does_not_lead_to_another_file(tmp_path, sign):
    (tmp_path / "a").write_bytes(b"another file")
    (tmp_path / f"a{sign}b").write_bytes(b"the file")
    files = StoredFiles(None)
    with pytest.raises(ValueError, match=rf"in a URI, \{sign} ends the path; if it is part of the name, write %"):
        files.content(f"file://{tmp_path}/a{sign}b").__enter__()
    relative, folder = StoredFiles(f"file://{tmp_path}"), StoredFiles(f"file://{tmp_path}{sign}c")
    with relative.content(f"a{sign}b") as encoded:
        assert encoded == b"the file"
    with files.content(f"file://{tmp_path}/a{quote(sign)}b") as encoded:
        assert encoded == b"the file"
    with pytest.raises(ValueError, match=rf"\{sign} ends the path"):
        folder.content("a").__enter__()
