"""Where the columns of a table come from: their lineage for Dagster, and what their sources say about them."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from sparktorch_assets.orchestration.keys import source_key
from sparktorch_assets.tasks import MlTask

Source = tuple[dg.AssetKey | str, str]
"""An asset and one of its columns."""


def column_lineage(columns: Mapping[str, Iterable[Source]]) -> dg.TableColumnLineage:
    """The lineage of a table that your own asset makes, for the metadata entry `dagster/column_lineage`.

    Args:
        columns: column -> the columns that it is made from, each as (asset, column). An asset is given by its key, or as
            text: `predictions/digit`.

    Examples:
        >>> made = column_lineage({"risk": [("predictions/late_arrival", "predicted_class")]})
        >>> made.deps_by_column["risk"][0].column_name
        'predicted_class'
    """
    return dg.TableColumnLineage(
        deps_by_column={
            column: [dg.TableColumnDep(asset_key=_key(asset), column_name=name) for asset, name in sources]
            for column, sources in columns.items()
        }
    )


def prediction_lineage(
    task: MlTask, columns: Iterable[str], input_columns: Sequence[str] = ()
) -> dg.TableColumnLineage:
    """The lineage of a prediction table's columns. Kept columns come from those of the same name; predictions from the
    columns that the features read; hook columns also from the kept ones, since a hook sees whole rows.

    Args:
        task: the task.
        columns: the table's columns.
        input_columns: the input's columns, if they are known. Where a preprocessor makes a feature's column, or a model
            object sees whole rows, predictions come from all of them.
    """
    there, seen = set(input_columns), list(task.feature_columns)
    if there and (not seen or not there.issuperset(seen)):
        seen = list(input_columns)
    added = {column.name for column in task.output_columns}
    kept = [column for column in columns if column not in added]
    by_hooks = list(dict.fromkeys([*seen, *kept]))
    made = dict.fromkeys(added, seen) | {name: by_hooks for name, _ in task.typed_hook_columns}
    source = source_key(task)
    return column_lineage(
        {
            column: [(source, name) for name in made.get(column, [column]) if not there or name in there]
            for column in columns
        }
    )


def source_columns(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, str | None]:
    """The columns of an upstream asset, each with its description, as its last materialization showed them; empty if it
    showed none."""
    event = instance.get_latest_materialization_event(asset)
    found = event.asset_materialization if event is not None else None
    schema = found.metadata.get("dagster/column_schema") if found is not None else None
    if not isinstance(schema, dg.TableSchemaMetadataValue):
        return {}
    return {column.name: column.description for column in schema.schema.columns}


def _key(asset: dg.AssetKey | str) -> dg.AssetKey:
    return asset if isinstance(asset, dg.AssetKey) else dg.AssetKey(asset.split("/"))
