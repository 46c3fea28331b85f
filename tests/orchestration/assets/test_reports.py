"""The sample project's downstream assets: their joins, on rows whose answer is plain."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sparktorch_assets.defs import flight_risk, similar_messages
from sparktorch_assets.orchestration.partitions.runs import range_tags
from sparktorch_assets.orchestration.resources import LakeResource


def predictions(
    key: str, keys: list[int], classes: list[str | None], confidences: list[float | None], **more: Any
) -> pa.Table:
    return pa.table(
        {
            key: pa.array(keys, pa.int64()),
            **more,
            "predicted_class": pa.array(classes, pa.string()),
            "confidence": pa.array(confidences, pa.float32()),
            "prediction_error": pa.nulls(len(keys), pa.string()),
        }
    )


LATE = predictions(
    "flight_id", [2, 1, 3, 4], ["late", "on_time", "late", "on_time"], [0.75, 0.75, 0.5, 1.0], carrier=list("UAUA")
)
CANCELLED = predictions(
    "flight_id",
    [1, 2, 3, 9],
    ["cancelled", "cancelled", "flown", "flown"],
    [0.5, 0.75, 0.75, 1.0],
    dep_time=[1, 2, 3, 9],
)


def test_flights_in_both_tables_are_joined_with_the_probability_of_the_bad_outcome():
    assert flight_risk.join_risks(LATE, CANCELLED).to_pylist() == [
        {
            "flight_id": flight,
            "carrier": carrier,
            "late_class": late,
            "cancellation_class": cancelled,
            "late_probability": late_probability,
            "cancellation_score": score,
            "risk": risk,
        }
        for flight, carrier, late, cancelled, late_probability, score, risk in [
            (1, "A", "on_time", "cancelled", 0.25, 0.5, "raised"),
            (2, "U", "late", "cancelled", 0.75, 0.75, "high"),
            (3, "U", "late", "flown", 0.5, 0.25, "raised"),
        ]
    ]


@pytest.mark.promise("O19")
def test_the_report_assets_write_tables_and_show_what_they_found(tmp_path: Any):
    lake = LakeResource(root=str(tmp_path))
    months, column = ["2013-01-01", "2013-02-01"], flight_risk.MONTHS.derived_column
    for key, rows in {flight_risk.LATE: LATE, flight_risk.CANCELLATION: CANCELLED}.items():
        for month in months:
            monthly = rows.append_column(column, pa.array([month] * rows.num_rows))
            write_deltalake(lake.table_uri(key), monthly, mode="append", partition_by=[column])
    result = dg.materialize([flight_risk.flight_risk], resources={"lake": lake}, tags=range_tags(months))
    risks = result.asset_materializations_for_node("flight_risk")
    assert [risk.partition for risk in risks] == months
    for risk in risks:
        assert (risk.metadata["raised_risk"].value, risk.metadata["high_risk"].value) == (2, 1)
        assert (risk.metadata["dagster/partition_row_count"].value, risk.metadata["dagster/row_count"].value) == (3, 6)
        assert "| late | cancelled | 1 |" in str(risk.metadata["combinations"].value)
    again = dg.materialize([flight_risk.flight_risk], resources={"lake": lake}, tags=range_tags(months))
    changed = [
        {event.metadata["changed"].value for event in run.asset_materializations_for_node("flight_risk")}
        for run in (result, again)
    ]
    assert changed == [{True}, {False}]
    assert DeltaTable(lake.table_uri(dg.AssetKey("flight_risk"))).version() == len(months) - 1


def embedded(rows: list[tuple[int, str, str, list[float] | None]]) -> pa.Table:
    numbers, languages, texts, vectors = zip(*rows, strict=True)
    return pa.table(
        {
            "message_id": pa.array(numbers, pa.int64()),
            "text": pa.array(texts),
            "language": pa.array(languages),
            "embedding": pa.array(vectors, pa.list_(pa.float32())),
        }
    )


def test_a_texts_neighbours_are_the_others_of_its_language_most_similar_first():
    """A failed row, a second row of the same text and a language of one text are left out."""
    table = embedded(
        [
            (5, "en", "east", [1.0, 0.0]),
            (1, "en", "north", [0.0, 1.0]),
            (2, "fr", "nord", [0.0, 1.0]),
            (3, "en", "north-east", [0.6, 0.8]),
            (4, "en", "broken", None),
            (6, "en", "north", [0.0, 1.0]),
        ]
    )
    found = similar_messages.nearest_texts(table).to_pylist()
    assert [(row["message_id"], [near["text"] for near in row["neighbours"]]) for row in found] == [
        (1, ["north-east", "east"]),
        (3, ["north", "east"]),
        (5, ["north-east", "north"]),
    ]
    assert [near["similarity"] for near in found[1]["neighbours"]] == pytest.approx([0.8, 0.6])


def test_no_more_neighbours_than_three_are_kept():
    table = embedded([(number, "en", f"text {number}", [1.0, number / 10]) for number in range(6)])
    found = similar_messages.nearest_texts(table).to_pylist()
    assert {len(row["neighbours"]) for row in found} == {3}
    assert found[0]["neighbours"][0]["message_id"] == 1


def test_a_table_without_vectors_has_no_neighbours():
    assert similar_messages.nearest_texts(embedded([(1, "en", "a", None)])).num_rows == 0
