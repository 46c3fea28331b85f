"""Where the columns of a table come from: their lineage for Dagster, and what their sources say about them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.assets.text.markdown import markdown_table
from sparktorch_assets.orchestration.keys import source_key
from sparktorch_assets.tasks import MlTask

_SHOWN_SOURCES = 4
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


def lineage_metadata(instance: dg.DagsterInstance, lineage: dg.TableColumnLineage) -> dict[str, Any]:
    """The metadata entries of a table's column lineage: `dagster/column_lineage`, and `column_sources`, a table that says
    the same for readers. The open-source UI of Dagster 1.13 stores the former, and does not draw it.

    Args:
        instance: where upstream assets have recorded the lineage of their own columns, through which every column is
            followed to those that no asset says more about.
        lineage: the table's, as `column_lineage` makes it.
    """
    known: dict[dg.AssetKey, Mapping[str, Sequence[dg.TableColumnDep]]] = {}
    rows = []
    for column, sources in lineage.deps_by_column.items():
        names, origins = [list(map(_shown, found)) for found in (sources, _origins(instance, sources, known))]
        rows.append([column, _listed(names), "" if names == origins else _listed(origins)])
    return {
        "column_sources": dg.MetadataValue.md(markdown_table(("column", "made from", "in the end from"), rows)),
        "dagster/column_lineage": lineage,
    }


def _origins(
    instance: dg.DagsterInstance,
    sources: Iterable[dg.TableColumnDep],
    known: dict[dg.AssetKey, Mapping[str, Sequence[dg.TableColumnDep]]],
) -> list[dg.TableColumnDep]:
    """The columns that the sources come from in the end, in the order in which they are found."""
    seen, origins, waiting = set[tuple[dg.AssetKey, str]](), [], list(sources)
    while waiting:
        source = waiting.pop(0)
        if (source.asset_key, source.column_name) in seen:
            continue
        seen.add((source.asset_key, source.column_name))
        if source.asset_key not in known:
            found = _last_metadata(instance, source.asset_key).get("dagster/column_lineage")
            lineage = found.column_lineage if isinstance(found, dg.TableColumnLineageMetadataValue) else None
            known[source.asset_key] = {} if lineage is None else lineage.deps_by_column
        further = known[source.asset_key].get(source.column_name, ())
        waiting += further
        origins += [] if further else [source]
    return origins


def _shown(source: dg.TableColumnDep) -> str:
    return f"{source.asset_key.to_user_string()}.{source.column_name}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_SOURCES
    return ", ".join(names[:_SHOWN_SOURCES]) + (f" and {more} more" if more > 0 else "")


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
    schema = _last_metadata(instance, asset).get("dagster/column_schema")
    if not isinstance(schema, dg.TableSchemaMetadataValue):
        return {}
    return {column.name: column.description for column in schema.schema.columns}


def _last_metadata(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Mapping[str, Any]:
    event = instance.get_latest_materialization_event(asset)
    found = event.asset_materialization if event is not None else None
    return {} if found is None else found.metadata


def _key(asset: dg.AssetKey | str) -> dg.AssetKey:
    return asset if isinstance(asset, dg.AssetKey) else dg.AssetKey(asset.split("/"))
