"""What a refresh asks of a store is its bill: how many requests, and of which kind. docs/tables.md has the figures."""

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_store import faulty_store
from jobs_here import JobsHere
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from s3_store import BUCKET

from sparktorch_assets.lake.parquet import footers
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

FILES, ROWS = 1_000, 1_001
PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
TASK = MlTask(
    name="above",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["no", "yes"],
)


def put_file(number):
    content = io.BytesIO()
    pq.write_table(pa.table({"x": [float(number)] * ROWS}), content)
    # In this process: a thousand requests would take longer than what is measured.
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, f"source/{number:05}.parquet", content.getvalue())


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.promise("T160")
@pytest.mark.promise("T161")
@pytest.mark.promise("T171")
def test_the_bill_of_refreshes_is_the_one_on_the_page(tmp_path, monkeypatch):
    """A refresh costs the same however many files have not changed, but for a listing per thousand."""
    monkeypatch.setattr(footers, "_YOUNG_SECONDS", -1)
    settings = {"model_loader": ModelLoader(str(tmp_path), device="cpu")}

    def run():
        """By a new process, as far as footers go."""
        monkeypatch.setattr(footers, "_memory", FooterMemory(1 << 30, most_bytes=1 << 30))
        store.reset()
        report = score_table(JobsHere(), store.uri("source"), TASK, output_table=store.uri("table"), **settings)
        counts = store.counts()
        writes = counts["PUT"] + counts["POST"]
        assert counts["DELETE"] == 0
        return report, (writes, counts["list"], counts["GET"] + counts["HEAD"])

    with faulty_store() as store:
        for number in range(FILES):
            put_file(number)
        with pytest.MonkeyPatch.context() as patch:  # past the proxy, whose counts are not needed yet
            patch.setenv("AWS_ENDPOINT_URL", store.store.endpoint)
            report, _ = run()
        assert report.rows_table == FILES * ROWS
        report, nothing = run()
        assert not report.changed
        put_file(FILES)
        report, one = run()
        assert (report.shards_new, report.rows_table) == (1, (FILES + 1) * ROWS)
    stated = dict(
        re.findall(
            r"^\| (nothing to do|one new file)<sup>T\d+</sup> \|((?: *\d+ \|){3})", PAGE.read_text(), re.MULTILINE
        )
    )
    found = {"nothing to do": nothing, "one new file": one}
    for name, cells in stated.items():
        writes, *others = map(int, re.findall(r"\d+", cells))
        assert found[name][0] == writes
        # A machine that is busy answers late, and delta-rs then asks again.
        assert all(asked >= count for asked, count in zip(found[name][1:], others, strict=True))
        assert sum(found[name][1:]) <= 2 * sum(others)
    assert stated.keys() == found.keys()
