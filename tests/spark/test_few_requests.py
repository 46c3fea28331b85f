"""What a refresh lists and opens, from the first run to one with nothing to do in another process."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_here import JobsHere

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parquet import footers
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.parquet.kept import kept_footers
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

TASK = MlTask(
    name="above",
    input="numbers",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["no", "yes"],
)


class Lake:
    """An input of three files and its predictions; counts listings and footers."""

    def __init__(self, folder, monkeypatch):
        self.source, self.output = folder / "numbers", folder / "above"
        self.source.mkdir()
        for number in range(3):
            pq.write_table(pa.table({"x": [1.0, number], "ds": ["a", str(number)]}), self.source / f"{number}.parquet")
        self.listed, self.read = Counter(), 0
        self._monkeypatch, self._files, self._read = monkeypatch, Folder.files, footers._read
        monkeypatch.setattr(kept_footers, "_FEW_FILES", 2)
        monkeypatch.setattr(Folder, "files", lambda folder, path="", **options: self._list(folder, path, **options))
        monkeypatch.setattr(footers, "_read", self._count)

    def _list(self, folder, path, **options):
        if not path.startswith("_delta_log"):
            self.listed[folder.root.rpartition("/")[2]] += 1
        return self._files(folder, path, **options)

    def _count(self, file, objects, **options):
        self.read += 1
        return self._read(file, objects, **options)

    def run(self, verb, **options):
        """In a process that remembers no footer."""
        self._monkeypatch.setattr(footers, "_memory", FooterMemory(1 << 20, most_bytes=1 << 20))
        self.listed.clear()
        self.read = 0
        settings = {"output_table": str(self.output), "model_loader": ModelLoader(str(self.source), device="cpu")}
        session = [JobsHere()] if verb is score_table else []
        return verb(*session, str(self.source), TASK, **settings, **options)


@pytest.fixture
def lake(tmp_path, monkeypatch):
    return Lake(tmp_path, monkeypatch)


@pytest.mark.promise("T140")
@pytest.mark.promise("T141")
@pytest.mark.parametrize("partition", [{}, {"partition": {"ds": "a"}}], ids=["whole", "partition"])
def test_a_run_with_nothing_to_do_lists_each_folder_once_and_opens_no_file(lake, partition):
    assert lake.run(score_table, **partition).changed
    assert lake.read == 3
    assert lake.listed["numbers"] == 1
    assert not lake.run(score_table, **partition).changed
    assert lake.read == 0
    assert lake.listed == {"numbers": 1, "above": 1}


@pytest.mark.promise("T142")
def test_only_a_run_writes_the_file_also_if_there_is_nothing_else_to_do(lake):
    kept = lake.output / kept_footers.NAME
    lake.run(plan_table)
    assert not lake.output.exists()
    lake.run(score_table)
    kept.unlink()
    lake.run(plan_table)
    assert not kept.exists()
    assert not lake.run(score_table).changed
    assert kept.exists()
    assert not lake.run(plan_table).changes
    assert lake.read == 0


@pytest.mark.promise("T142")
def test_a_run_succeeds_where_the_file_cannot_be_written(lake):
    (lake.output / kept_footers.NAME).mkdir(parents=True)
    assert lake.run(score_table).changed
    assert not lake.run(plan_table).changes
    assert [path.name for path in lake.output.iterdir() if path.name.endswith(".tmp")] == []
