"""Failed rows and uncertain images on the page: what is shown, and that nothing is where the task wants no rows."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from orchestration_fakes import FakeScoreTable, a_tally, a_task
from PIL import Image

from sparktorch_assets.lake.table import Table
from sparktorch_assets.orchestration.assets.page.charts.contact_sheet import contact_sheet
from sparktorch_assets.orchestration.assets.page.sampled_rows import sampled_rows
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.spark.score.failures.failed_sample import failed_sample
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import ImageFeature


def png(grey: int, size: int = 28) -> bytes:
    file = io.BytesIO()
    Image.new("L", (size, size), grey).save(file, "PNG")
    return file.getvalue()


def failing(folder: Path, reasons: list[str | None]) -> Table:
    rows = {
        "event_id": range(len(reasons)),
        "predicted_class": [None if reason else "no" for reason in reasons],
        "confidence": pa.array([None if reason else 0.5 for reason in reasons], pa.float32()),
        "prediction_error": pa.array(reasons, pa.string()),
    }
    write_deltalake(str(folder), pa.table(rows))
    return Table(str(folder))


@pytest.mark.promise("O150")
def test_failed_rows_of_each_reason_are_shown(tmp_path: Path):
    reasons = ["encode: Null: x is null"] * 50 + ["hook: KeyError: 'a'", None] + ["hook: KeyError: 'b'"] * 5
    table = failing(tmp_path / "t", reasons)
    tally = Tally(failed=56, reasons={"encode: Null": 50, "hook: KeyError": 6})
    rows = failed_sample(a_task(), table, tally)
    assert [row["event_id"] for row in rows] == [0, 1, 2, 50, 52, 53]
    assert list(rows[0]) == ["prediction_error", "event_id"]


@pytest.mark.promise("O150", "O151")
def test_the_page_shows_failed_rows_unless_the_task_wants_none(resources: dict[str, Any], score: FakeScoreTable):
    def shown(task: Any) -> dict[str, Any]:
        result = dg.materialize([build_prediction_asset(task)], resources=resources)
        (event,) = result.asset_materializations_for_node("predict_sample")
        return dict(event.metadata)

    assert "| encode: null | 7 |" in str(shown(a_task())["failed_rows_sample"].value)
    assert "failed_rows_sample" not in shown(a_task(preview_rows=0))


def image_task(**changes: Any) -> Any:
    feature = ImageFeature(column="image", height=28, width=28, channels=1)
    return a_task(**{"features": [feature], "keep_columns": ["event_id", "image"], **changes})


def images_of(tmp_path: Path, task: Any) -> str | None:
    rows = {
        "event_id": range(20),
        "image": [png(grey * 12) for grey in range(19)] + [b"no image"],
        "predicted_class": ["no"] * 20,
        "confidence": pa.array([1 - 0.02 * place for place in range(20)], pa.float32()),
        "prediction_error": pa.array([None] * 20, pa.string()),
    }
    write_deltalake(str(tmp_path / "t"), pa.table(rows), mode="overwrite")
    report: Any = SimpleNamespace(tally=Tally(predicted=20), partition=())
    found = sampled_rows(task, Table(str(tmp_path / "t")), report).get("least_confident_images")
    return None if found is None else str(found.value)


@pytest.mark.promise("O151", "O152")
def test_the_least_certain_images_are_on_a_sheet(tmp_path: Path):
    shown = images_of(tmp_path, image_task())
    assert shown is not None
    # Of the twelve least certain rows, one holds no image.
    assert shown.startswith("![The 12 images of which the model is least sure](data:image/jpeg;base64,")
    assert shown.endswith("\n\nBelow each: predicted class and confidence. From 1 of 1 parts.")
    assert len(shown) < 20_000
    assert images_of(tmp_path, image_task(preview_rows=0)) is None
    assert images_of(tmp_path, a_task()) is None


def test_a_sheet_holds_what_can_be_read_within_limits(monkeypatch: pytest.MonkeyPatch):
    assert contact_sheet([(b"", "a"), (b"\x89PNG\r\n\x1a\nbroken", "b")], "x") == ""
    noise = Image.effect_noise((256, 256), 90)
    file = io.BytesIO()
    noise.save(file, "PNG")
    sheet = contact_sheet([(file.getvalue(), "<b>中文 and more 0.31")] * 12, "x](y)")
    assert sheet.startswith("![x&#93;(y)](data:image/jpeg;base64,")
    assert len(sheet) < 32_000
    monkeypatch.setattr("sparktorch_assets.orchestration.assets.page.charts.contact_sheet._MOST_PIXELS", 100)
    assert contact_sheet([(file.getvalue(), "a")], "x") == ""


def test_a_table_without_failed_rows_is_not_read():
    assert failed_sample(a_task(), None, Tally(predicted=9)) == []  # type: ignore[arg-type]
    assert failed_sample(a_task(preview_rows=0), None, a_tally()) == []  # type: ignore[arg-type]
