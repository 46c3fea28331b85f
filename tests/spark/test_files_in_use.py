"""Files that change: the same process sees every change, and a change in the midst of a run ends the run.

The ways to change a file leave its size as it is, and its modification time too: a cache that is keyed by those two, or a
comparison of them, passes none of these tests.
"""

import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from jobs_here import JobsHere
from safetensors.torch import save_file

from sparktorch_assets.errors import ModelError, SparktorchError, TableError
from sparktorch_assets.file_identity import FileIdentity, file_identity
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.ml_predict import PredictPartition
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import BatchPolicy, CategoricalFeature, MlTask, ModelSpec, SlotPolicy

ROWS = 70_000
"""More than the reader holds at once: at the first batch of the model it has not read the last row yet."""


class Watched(torch.nn.Module):
    """Logits from the category's index; calls what stands in `on_batch` before each batch."""

    on_batch: list = []  # noqa: RUF012  (the test's way in)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3, 2))

    def forward(self, c_BK):
        while self.on_batch:
            self.on_batch.pop()()
        return self.weight[c_BK[:, 0]]


TASK = MlTask(
    name="t",
    input="i",
    model=ModelSpec(weights="now/m.safetensors", architecture="test_files_in_use:Watched"),
    features=[CategoricalFeature(columns=["c"], vocabulary="now/v.json")],
    labels=["no", "yes"],
    batch=BatchPolicy(batch_size=8192),
)


class Lake:
    """Two releases of a model and of an input, of equal sizes; `now` is the one in use."""

    def __init__(self, root):
        self.root, self.models, self.input, self.table = root, root / "models", root / "in", root / "out"
        for name, sign in (("one", 1.0), ("two", -1.0)):
            folder = self.models / name
            folder.mkdir(parents=True)
            save_file({"weight": torch.tensor([[0, 0], [sign, 0], [0, sign]])}, folder / "m.safetensors")
            (folder / "v.json").write_text(json.dumps({"c": ["a", "b"] if sign > 0 else ["b", "a"]}))
            (root / name).mkdir()
            # Permuted rows without statistics: even the footers are equal.
            letters = ["a", "b"] * (ROWS // 2) if sign > 0 else ["b", "a"] * (ROWS // 2)
            pq.write_table(
                pa.table({"c": letters}),
                root / name / "in.parquet",
                use_dictionary=False,
                write_statistics=False,
                compression="none",
            )
        for folder in (self.models, root):
            shutil.copytree(folder / "one", folder / "now", copy_function=shutil.copy2)
            _equal_times(folder)
        self.input = root / "now" / "in.parquet"

    def score(self, table="out"):
        return score_table(
            JobsHere(),
            str(self.input),
            TASK,
            output_table=str(self.root / table),
            model_loader=ModelLoader(self.models),
        )

    def plan(self):
        return plan_table(str(self.input), TASK, output_table=str(self.table), model_loader=ModelLoader(self.models))

    def classes(self, table="out"):
        return DeltaTable(str(self.root / table)).to_pyarrow_table()["predicted_class"].to_pylist()


def _equal_times(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(10**18, 10**18))


def overwrite(folder, name, release):
    """The file's bytes are exchanged, the inode stays."""
    with open(folder / "now" / name, "r+b") as file:
        file.write((folder / release / name).read_bytes())
    os.utime(folder / "now" / name, ns=(10**18, 10**18))


def rename(folder, name, release):
    """Another file takes the name."""
    shutil.copy2(folder / release / name, folder / "next")
    (folder / "next").replace(folder / "now" / name)


def switch(folder, _name, release):
    """The folder is a link, and then a link to another release. No file is touched."""
    if not (folder / "now").is_symlink():
        shutil.rmtree(folder / "now")
        (folder / "now").symlink_to(folder / "one")
    (folder / "link").symlink_to(folder / release)
    (folder / "link").replace(folder / "now")


WAYS = [overwrite, rename, switch]
FILES = {"weights": ("models", "m.safetensors"), "vocabulary": ("models", "v.json"), "input": ("", "in.parquet")}


@pytest.fixture
def lake(tmp_path):
    forget_models()
    Watched.on_batch.clear()
    return Lake(tmp_path)


@pytest.fixture(params=FILES)
def file(request, lake):
    """The folder of its releases, and its name."""
    folder, name = FILES[request.param]
    return lake.root / folder, name


@pytest.mark.promise("M19", "M20")
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_changes_during_a_run_ends_the_run(lake, file, way):
    """Whatever the file and the way: a clear error and no commit, and the next run's answers are those of a fresh
    table."""
    if way is switch:
        way(*file, "one")
    Watched.on_batch.append(lambda: way(*file, "two"))
    with pytest.raises((ModelError, TableError), match="run again|Run again"):
        lake.score()
    assert not (lake.table / "_delta_log").exists()
    lake.score()
    forget_models()
    lake.score("fresh")
    assert lake.classes() == lake.classes("fresh") == _expected(lake)


def rows_of(lake):
    return pq.read_table(lake.input).to_pylist()[:20_000]


def in_partition(lake):
    """What a Spark worker runs for `spark_ml_predict`."""
    batch = pa.RecordBatch.from_pylist(rows_of(lake))
    worker = PredictPartition(
        task=TASK,
        loader=ModelLoader(lake.models),
        policy=SlotPolicy(device="cpu"),
        columns=["c"],
        schema=output_schema(TASK, batch.schema),
        batch_size=None,
        concurrent_slots=1,
        code={},
    )
    return worker(iter([batch]))


VERBS = {
    "predict_map of rows": lambda lake: predict_map(0, rows_of(lake), TASK, model_loader=ModelLoader(lake.models)),
    "predict_map of batches": lambda lake: predict_map(
        0, [pa.RecordBatch.from_pylist(rows_of(lake))], TASK, model_loader=ModelLoader(lake.models)
    ),
    "a partition of spark_ml_predict": in_partition,
}


def by_another_process(way):
    """The same change, made by a process that shares no cache with this one."""

    def change(folder, name, release):
        code = f"import sys; from pathlib import Path; sys.path += {sys.path!r}; import test_files_in_use as files; "
        call = f"files.{way.__name__}(Path({str(folder)!r}), {name!r}, {release!r})"
        subprocess.run([sys.executable, "-c", code + call], check=True)

    return change


@pytest.mark.promise("M19")
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["m.safetensors", "v.json"])
@pytest.mark.parametrize(
    "way", [*WAYS, by_another_process(overwrite)], ids=["overwrite", "rename", "switch", "process"]
)
def test_a_model_that_changes_under_a_stream_of_rows_ends_it(lake, name, way, verb):
    """What keeps no table cannot take its rows back: the error comes before the stream's end, so that nobody takes it for
    whole."""
    if way is switch:
        way(lake.models, name, "one")
    Watched.on_batch.append(lambda: way(lake.models, name, "two"))
    with pytest.raises(ModelError, match="changed while the model was in use"):
        list(VERBS[verb](lake))
    assert len(list(VERBS[verb](lake))) > 0


def _expected(lake):
    """What a plain loop gives."""
    from safetensors.torch import load_file

    vocabulary = json.loads((lake.models / "now" / "v.json").read_text())["c"]
    weight = load_file(lake.models / "now" / "m.safetensors")["weight"]
    letters = pq.read_table(lake.input)["c"].to_pylist()
    return [TASK.labels[int(weight[vocabulary.index(letter) + 1].argmax())] for letter in letters]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["m.safetensors", "v.json"])
def test_a_process_sees_a_model_file_that_changed_between_runs(lake, name, way):
    """Digests are of the files as they are, and a model that is kept in memory is never that of other files: there and
    back again, each table has the answers of its own files."""
    if way is switch:
        way(lake.models, name, "one")
    digests = []
    for number, release in enumerate(["one", "two", "one", "two"]):
        way(lake.models, name, release)
        digests.append(lake.score(f"out{number}").model_digest)
        assert lake.classes(f"out{number}") == _expected(lake)
    assert digests[0] == digests[2] != digests[1] == digests[3]


def test_a_process_sees_an_input_that_changed_between_runs(lake):
    """A file of equal size and time but with another footer is planned again by the process that knew the old one."""
    for release in ("one", "two"):
        rows = pq.read_table(lake.root / release / "in.parquet").append_column("n", pa.array(range(ROWS)))
        rows = rows if release == "one" else rows.set_column(1, "n", pa.array(range(-ROWS, 0)))
        pq.write_table(rows, lake.root / release / "in.parquet", use_dictionary=False, compression="none")
    shutil.copy2(lake.root / "one" / "in.parquet", lake.input)
    for release in ("one", "two", "one"):
        overwrite(lake.root, "in.parquet", release)
        _equal_times(lake.root / "now")
        lake.score()
        assert not lake.plan().changes
        assert lake.classes() == _expected(lake)


def test_a_model_that_changes_while_it_is_brought_up_is_not_kept(lake):
    """A link that is switched to another release and back while the model loads leaves no wrong model behind."""
    switch(lake.models, "", "one")

    class Switches(ModelLoader):
        def bring_up_model(self, *arguments, **options):
            switch(lake.models, "", "two")
            return super().bring_up_model(*arguments, **options)

    loader = Switches(lake.models)
    options = {"output_table": str(lake.table), "model_loader": loader}
    with pytest.raises(SparktorchError):
        score_table(JobsHere(), str(lake.input), TASK, **options)
    switch(lake.models, "", "one")
    lake.score("fresh")
    assert lake.classes("fresh") == _expected(lake)


@pytest.mark.promise("M20")
def test_identities_of_one_host_and_of_two():
    """On one host everything counts; between hosts, what each numbers in its own way does not."""
    here = FileIdentity(host="a", device=1, inode=2, changed_ns=3, size_bytes=4, modified_ns=5)
    for field in ("device", "inode", "changed_ns", "size_bytes", "modified_ns"):
        for host in ("a", "b"):
            other = FileIdentity(
                **{name: getattr(here, name) for name in FileIdentity.__dataclass_fields__} | {field: 9, "host": host}
            )
            assert here.agrees_with(other) is (host == "b" and field in ("device", "inode", "changed_ns"))


def test_two_writes_at_one_time_are_told_apart(tmp_path):
    """Identities wait until a later write would have a later time."""
    path = tmp_path / "f"
    path.write_bytes(b"0")
    seen = []
    for number in range(20):
        with open(path, "r+b") as file:
            file.write(str(number % 10).encode())
        os.utime(path, ns=(1, 1))
        seen.append(file_identity(path))
    assert len(set(seen)) == len(seen)
    assert file_identity(tmp_path / "none") is None
