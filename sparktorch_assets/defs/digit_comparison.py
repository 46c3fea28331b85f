"""An asset that compares a challenger's predictions with the champion's, and shows where they disagree."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from sparktorch_assets import (
    LakeResource,
    data_version,
    preview_table,
    staleness_condition,
    table_metadata,
    table_version,
    write_if_changed,
)

CHAMPION = dg.AssetKey(["predictions", "digit"])
CHALLENGER = dg.AssetKey(["predictions", "digit_challenger"])
CODE_VERSION = "1"
SHOWN_IMAGES = 12


@dg.asset(
    deps=[CHAMPION, CHALLENGER],
    group_name="reports",
    kinds={"delta", "pyarrow"},
    code_version=CODE_VERSION,
    automation_condition=staleness_condition(),
    tags={"sparktorch/refresh": "daily"},
)
def digit_comparison(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
    """Champion and challenger on the same images: how often they agree, with pictures of those on which they do not."""
    sources = [lake.table_uri(key) for key in (CHAMPION, CHALLENGER)]
    champion, challenger = (DeltaTable(source).to_pyarrow_table() for source in sources)
    compared = compare(champion, challenger)
    uri = lake.table_uri(context.asset_key)
    made_from = "-".join([CODE_VERSION, *map(data_version, sources)])
    changed = write_if_changed(uri, compared.drop_columns(["image"]), made_from)
    disagreements = compared.filter(pc.invert(compared["agree"])).sort_by([("challenger_confidence", "descending")])
    shown = disagreements.slice(0, SHOWN_IMAGES).select(["image", "label", "champion", "challenger", "digit_id"])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(made_from),
        metadata={
            "changed": changed,
            **table_metadata(uri, compared.num_rows, compared.drop_columns(["image"]).schema, table_version(uri), {}),
            "agreement": share(compared["agree"]),
            "disagreements": disagreements.num_rows,
            "champion_accuracy": share(pc.equal(compared["champion"], compared["label"])),
            "challenger_accuracy": share(pc.equal(compared["challenger"], compared["label"])),
            "most_confident_disagreements": dg.MetadataValue.md(preview_table(shown.to_pylist()) or "none"),
        },
    )


def compare(champion: pa.Table, challenger: pa.Table) -> pa.Table:
    """One row per image that both tables hold, ordered by `digit_id`, with both predictions."""
    # The image follows by position: Arrow joins no binary payload columns in every version.
    right = challenger.select(["digit_id", "predicted_class", "confidence"]).rename_columns(
        ["digit_id", "challenger", "challenger_confidence"]
    )
    joined = (
        champion.rename_columns({"predicted_class": "champion", "confidence": "champion_confidence"})
        .select(["digit_id", "label", "image", "champion", "champion_confidence"])
        .join(right, "digit_id", join_type="inner")
        .sort_by("digit_id")
    )
    return joined.append_column("agree", pc.equal(joined["champion"], joined["challenger"]))


def share(flags: pa.ChunkedArray) -> float:
    """The share of true values; nulls (failed rows) count as false."""
    return float(pc.sum(pc.fill_null(flags, False)).as_py() or 0) / max(len(flags), 1)
