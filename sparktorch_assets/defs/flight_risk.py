"""An asset that joins two tasks' predictions for the same flights."""

from collections import Counter
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from sparktorch_assets import (
    LakeResource,
    TimePartitions,
    backfill_policy,
    column_lineage,
    data_version,
    lineage_metadata,
    partitions_definition,
    preview_table,
    record_made_from,
    staleness_condition,
    table_metadata,
    table_version,
    write_if_changed,
)

LATE = dg.AssetKey(["predictions", "late_arrival"])
CANCELLATION = dg.AssetKey(["predictions", "cancellation"])
MONTHS = TimePartitions(
    by="month", column="time_hour", start="2013-01-01", end="2014-01-01", timezone="America/New_York"
)
"""As the tasks declare them, so that a month of the report is made from the same month of both predictions."""
CODE_VERSION = "1"
SHOWN_ROWS = 10
CLASSES = {"late_class": (LATE, "predicted_class"), "cancellation_class": (CANCELLATION, "predicted_class")}
SCORES = {"late_probability": (LATE, "confidence"), "cancellation_score": (CANCELLATION, "confidence")}
DESCRIBED = {
    "late_probability": "The probability of arriving more than 15 minutes late",
    "cancellation_score": "The higher, the likelier is a cancellation; no probability",
    "risk": "high (late and cancelled), raised (one of them) or low",
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "flight_risk",
            deps=[LATE, CANCELLATION],
            description="The risk of each flight from both predictions: high (late and cancelled), raised (one of them) or low.",
            group_name="reports",
            kinds={"delta", "pyarrow"},
            code_version=CODE_VERSION,
            partitions_def=partitions_definition(MONTHS),
            automation_condition=staleness_condition(),
            tags={"sparktorch/refresh": "daily"},
        )
    ],
    backfill_policy=backfill_policy(MONTHS),
)
def flight_risk(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
    """Join the predictions of each of the run's months."""
    sources = [lake.table_uri(key) for key in (LATE, CANCELLATION)]
    uri, column = lake.table_uri(context.asset_key), MONTHS.derived_column
    versions = {
        month: "-".join([CODE_VERSION, *(data_version(source, {column: month}) for source in sources)])
        for month in context.partition_keys
    }
    record_made_from(context, data_versions=versions)
    tables = [DeltaTable(source, storage_options=lake.delta_options()) for source in sources]
    for month, made_from in versions.items():
        late, cancellation = (table.to_pyarrow_table(filters=[(column, "=", month)]) for table in tables)
        joined = join_risks(late, cancellation)
        changed = write_if_changed(uri, joined, made_from, {column: month})
        context.add_asset_metadata({"changed": changed, **described(joined)}, partition_key=month)
    whole = DeltaTable(uri, storage_options=lake.delta_options())
    rows, schema = whole.count(), pa.schema(whole.schema())
    return dg.MaterializeResult(
        metadata={
            **table_metadata(uri, rows, schema, table_version(uri), DESCRIBED),
            **lineage_metadata(context.instance, column_lineage(sources_of(schema.names))),
        }
    )


def described(joined: pa.Table) -> dict[str, Any]:
    """What Dagster shows of the flights of one month."""
    combinations = Counter(zip(joined["late_class"].to_pylist(), joined["cancellation_class"].to_pylist(), strict=True))
    counted = [
        {"late_arrival": pair[0], "cancellation": pair[1], "flights": count}
        for pair, count in combinations.most_common()
    ]
    return {
        "dagster/partition_row_count": joined.num_rows,
        "combinations": dg.MetadataValue.md(preview_table(counted)),
        **{f"{level}_risk": count for level, count in Counter(joined["risk"].to_pylist()).items()},
        "preview": dg.MetadataValue.md(preview_table(joined.slice(0, SHOWN_ROWS).to_pylist())),
    }


def sources_of(columns: list[str]) -> dict[str, list[tuple[dg.AssetKey, str]]]:
    """What each column is made from: a score also from the class that it is the score of, and all others are kept."""
    made = {name: [source] for name, source in CLASSES.items()}
    made |= {name: [source, (source[0], "predicted_class")] for name, source in SCORES.items()}
    made["risk"] = list(CLASSES.values())
    return {column: made.get(column, [(LATE, column)]) for column in columns}


def join_risks(late: pa.Table, cancellation: pa.Table) -> pa.Table:
    """One row per flight that both tables hold, ordered by `flight_id`.

    `late_probability` is a probability, because of how its model was trained; `cancellation_score` only ranks flights.
    """
    left = late.rename_columns({"predicted_class": "late_class", "confidence": "late_confidence"})
    right = cancellation.select(["flight_id", "predicted_class", "confidence"]).rename_columns(
        ["flight_id", "cancellation_class", "cancellation_confidence"]
    )
    joined = left.drop_columns(["prediction_error"]).join(right, "flight_id", join_type="inner").sort_by("flight_id")
    is_late = pc.equal(joined["late_class"], "late")
    is_cancelled = pc.equal(joined["cancellation_class"], "cancelled")
    both, either = pc.and_(is_late, is_cancelled), pc.or_(is_late, is_cancelled)
    columns = {
        "late_probability": _of_class(is_late, joined["late_confidence"]),
        "cancellation_score": _of_class(is_cancelled, joined["cancellation_confidence"]),
        "risk": pc.if_else(both, "high", pc.if_else(either, "raised", "low")),
    }
    for name, values in columns.items():
        joined = joined.append_column(name, values)
    return joined.drop_columns(["late_confidence", "cancellation_confidence"])


def _of_class(predicted: pa.ChunkedArray, confidence: pa.ChunkedArray) -> pa.ChunkedArray:
    """The probability of the class in question; `confidence` is that of whichever of the two classes was predicted."""
    return pc.if_else(predicted, confidence, pc.subtract(pa.scalar(1.0, pa.float32()), confidence))
