"""The asset `comparisons/<challenger>`: a challenger's predictions against its champion's, anew when one of them changes."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.assets.page.metadata import table_metadata
from sparktorch_assets.orchestration.assets.run.failure import PlainFailure
from sparktorch_assets.orchestration.assets.text.markdown import markdown_table, preview_table
from sparktorch_assets.orchestration.automation.schedules import refresh_tags, staleness_condition
from sparktorch_assets.orchestration.keys import COMPARISONS_GROUP, comparison_key, prediction_key
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.digest import digest_of
from sparktorch_assets.tasks.rivals import truth_of

if TYPE_CHECKING:
    from sparktorch_assets.comparison.compare import Comparison
    from sparktorch_assets.orchestration.resources import LakeResource

_FORMAT = 1
"""Incremented when comparisons are made in another way."""
_SHORT_DIGEST = 12
_VERSION_TAG = "dagster/data_version"


def build_comparison_asset(champion: MlTask, challenger: MlTask) -> dg.AssetsDefinition:
    """Build the asset that compares both tasks' prediction tables, whose own table has the comparison in detail.

    Args:
        champion: the task that the challenger names, with what it has promoted.
        challenger: a task with `challenger_of`.
    """
    from sparktorch_assets.orchestration.resources import LakeResource

    key = comparison_key(challenger)
    challenge = challenger.challenger_of
    assert challenge is not None
    shown = min(champion.preview_rows, challenger.preview_rows) > 0
    declared = [
        _FORMAT,
        challenge.task,
        challenge.join_on,
        truth_of(champion, challenger),
        challenger.feature_columns,
        shown,
    ]
    spec = dg.AssetSpec(
        key,
        deps=[prediction_key(champion), prediction_key(challenger)],
        description=f"Predictions of {challenger.name} compared with those of {champion.name}, row by row.",
        group_name=COMPARISONS_GROUP,
        kinds={"delta", "pyarrow"},
        code_version=digest_of(declared)[:_SHORT_DIGEST],
        automation_condition=staleness_condition(),
        tags=refresh_tags(challenger),
    )

    @dg.multi_asset(name=f"compare_{challenger.name}", specs=[spec])
    def compare(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeResource]) -> dg.MaterializeResult[None]:
        with PlainFailure(key, context):
            return _compare(context, champion, challenger, lake, str(spec.code_version))

    return compare


def _compare(
    context: dg.AssetExecutionContext, champion: MlTask, challenger: MlTask, lake: "LakeResource", code_version: str
) -> dg.MaterializeResult[None]:
    from sparktorch_assets.comparison.compare import compare_predictions
    from sparktorch_assets.lake.derived import write_if_changed
    from sparktorch_assets.lake.table import Table, data_version

    key = comparison_key(challenger)
    uri = lake.table_uri(key)
    sources = [lake.table_uri(prediction_key(task)) for task in (champion, challenger)]
    made_from = "-".join([code_version, *map(data_version, sources)])
    before = _made_before(context, key, made_from)
    if before is not None and Table(uri).version is not None and not Table(uri).lost_parts():
        context.log.info("nothing changed: both tables are those that were compared last")
        return dg.MaterializeResult(
            asset_key=key, data_version=dg.DataVersion(made_from), metadata={**before, "changed": False}
        )
    found = compare_predictions(champion, challenger, *sources)
    changed = write_if_changed(uri, found.table, made_from)
    context.log.info(
        "%s rows compared; %s are only in %s, %s only in %s",
        *(f"{found.rows:,}", f"{found.only_champion:,}", champion.name, f"{found.only_challenger:,}", challenger.name),
    )
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(made_from),
        metadata={
            **_page(found),
            "changed": changed,
            **table_metadata(uri, found.table.num_rows, found.table.schema, Table(uri).version, {}),
        },
    )


def _page(found: "Comparison") -> dict[str, Any]:
    """The entries of the asset's page, first what people look for."""
    shown: dict[str, Any] = dict(found.figures)
    shown |= {
        "rows_compared": found.rows,
        "rows_only_in_champion": found.only_champion,
        "rows_only_in_challenger": found.only_challenger,
    }
    if found.disagreements:
        shown["most_confident_disagreements"] = dg.MetadataValue.md(preview_table(found.disagreements))
    for name, table in found.tables.items():
        shown[name] = dg.MetadataValue.md(markdown_table(table.columns, table.rows))
    return shown


def _made_before(context: dg.AssetExecutionContext, key: dg.AssetKey, made_from: str) -> dict[str, Any] | None:
    """The metadata of the asset's last materialization, if that compared the same tables in the same way."""
    event = context.instance.get_latest_materialization_event(key)
    made = None if event is None else event.asset_materialization
    if made is None or (made.tags or {}).get(_VERSION_TAG) != made_from:
        return None
    return dict(made.metadata)
