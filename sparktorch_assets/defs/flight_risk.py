"""An asset that joins two tasks' predictions for the same flights."""

from collections import Counter

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from sparktorch_assets import (
    LakeResource,
    column_lineage,
    data_version,
    lineage_metadata,
    preview_table,
    staleness_condition,
    table_metadata,
    table_version,
    write_if_changed,
)

LATE = dg.AssetKey(["predictions", "late_arrival"])
CANCELLATION = dg.AssetKey(["predictions", "cancellation"])
CODE_VERSION = "1"
SHOWN_ROWS = 10
CLASSES = {"late_class": (LATE, "predicted_class"), "cancellation_class": (CANCELLATION, "predicted_class")}
SCORES = {"late_probability": (LATE, "confidence"), "cancellation_score": (CANCELLATION, "confidence")}
DESCRIBED = {
    "late_probability": "The probability of arriving more than 15 minutes late",
    "cancellation_score": "The higher, the likelier is a cancellation; no probability",
    "risk": "high (late and cancelled), raised (one of them) or low",
}


@dg.asset(
    deps=[LATE, CANCELLATION],
    group_name="reports",
    kinds={"delta", "pyarrow"},
    code_version=CODE_VERSION,
    automation_condition=staleness_condition(),
    tags={"sparktorch/refresh": "daily"},
)
def flight_risk(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
    """The risk of each flight from both predictions: high (late and cancelled), raised (one of them) or low."""
    sources = [lake.table_uri(key) for key in (LATE, CANCELLATION)]
    late, cancellation = (DeltaTable(source).to_pyarrow_table() for source in sources)
    joined = join_risks(late, cancellation)
    uri = lake.table_uri(context.asset_key)
    made_from = "-".join([CODE_VERSION, *map(data_version, sources)])
    changed = write_if_changed(uri, joined, made_from)
    combinations = Counter(zip(joined["late_class"].to_pylist(), joined["cancellation_class"].to_pylist(), strict=True))
    counted = [
        {"late_arrival": pair[0], "cancellation": pair[1], "flights": count}
        for pair, count in combinations.most_common()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(made_from),
        metadata={
            "changed": changed,
            **table_metadata(uri, joined.num_rows, joined.schema, table_version(uri), DESCRIBED),
            **lineage_metadata(context.instance, column_lineage(sources_of(joined.column_names))),
            "combinations": dg.MetadataValue.md(preview_table(counted)),
            **{f"{level}_risk": count for level, count in Counter(joined["risk"].to_pylist()).items()},
            "preview": dg.MetadataValue.md(preview_table(joined.slice(0, SHOWN_ROWS).to_pylist())),
        },
    )


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
