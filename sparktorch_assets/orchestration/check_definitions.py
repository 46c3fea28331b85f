"""What can be known before any run: whether the tasks, the input tables and the models of a code location fit together.

A single component knows only its own declaration, so this looks at the merged definitions.
"""

import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import dagster as dg

from sparktorch_assets.errors import InputSchemaError, ModelError, TaskError
from sparktorch_assets.orchestration.assets.declared import Declaration, declaration_of
from sparktorch_assets.orchestration.keys import model_key, prediction_key, source_key
from sparktorch_assets.orchestration.partitions.fit import check_fit
from sparktorch_assets.orchestration.resources import ModelLoaderResource
from sparktorch_assets.tasks import InputTable, MlTask
from sparktorch_assets.tasks.files.model_files import check_file

Columns = tuple[tuple[str, str], ...]
"""Pairs of name and type; types as `str(pyarrow.DataType)` gives them."""

_LOG = logging.getLogger(__name__)
_NEAR = 0.7
"""Similarity (`difflib`) from which on an unknown input is taken for a misspelt one: `flihgts` and `flights` have
0.86."""


def check_definitions(definitions: dg.Definitions) -> dg.Definitions:
    """Check that the tasks of a code location fit its input tables, and return the definitions.

    Two things are only logged as warnings, since they can be right: an input that no asset has, although one has nearly
    its name (it may be another code location's, or a view), and a model file that does not exist (an upstream asset may
    write it). No table, model or session is opened.

    Args:
        definitions: all definitions of the location, merged, with those of `runtime_definitions`.

    Raises:
        TaskError: two tasks or two input tables have the same name, a task names no input, or its partitions do not fit
            those of its input.
        InputSchemaError: a task needs a column that its input table does not declare, or declares with a type that the
            task cannot use. The input may also be another task's predictions, whose columns are derived.
    """
    assets = [asset for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)]
    _check_names(assets)
    declared = {key: found for asset in assets if (found := declaration_of(asset)) for key in asset.keys}
    tasks = [found for found in declared.values() if isinstance(found, MlTask)]
    keys = _keys(definitions) - {model_key(task) for task in tasks}
    loader = (definitions.resources or {}).get("model_loader")
    tables = {found.name: found for found in declared.values() if isinstance(found, InputTable)}
    for table in tables.values():
        if table.partitions is not None:
            table.partitions.table_column(dict(_arrow_types(table.typed_columns)), f"InputTable {table.name!r}")
    for task in tasks:
        check_fit(task, declared.get(source_key(task)), tables)
        columns = _columns_of(source_key(task), declared, frozenset({prediction_key(task)}))
        if columns is not None:
            task.check_input(columns)
            _partition_column(task, columns)
        elif source_key(task) not in keys:
            _warn_of_misspelt_input(task, keys - {prediction_key(task)})
        if isinstance(loader, ModelLoaderResource) and not _set_at_run_time(loader):
            _warn_of_missing_files(task, loader.models_place)
    return definitions


def _check_names(assets: Iterable[dg.AssetsDefinition]) -> None:
    """Dagster refuses two assets of one name as well, but does not say where they are declared."""
    places: dict[dg.AssetKey, str] = {}
    for asset in assets:
        found = declaration_of(asset)
        for spec in asset.specs if found else ():
            place = _place(spec)
            if spec.key in places:
                what = "tasks" if isinstance(found, MlTask) else "input tables"
                raise TaskError(
                    f"two {what} would be the asset {spec.key.to_user_string()!r}, one declared in {places[spec.key]}, "
                    f"the other in {place}; rename one"
                )
            places[spec.key] = place


def _place(spec: dg.AssetSpec) -> str:
    """The file that declares a component, which Dagster notes; a task that is declared in Python has none."""
    noted = spec.metadata.get("dagster/code_references")
    references = noted.code_references if isinstance(noted, dg.CodeReferencesMetadataValue) else ()
    files = [reference.file_path for reference in references if isinstance(reference, dg.LocalFileCodeReference)]
    return files[0] if files else "Python"


def _keys(definitions: dg.Definitions) -> set[dg.AssetKey]:
    found: set[dg.AssetKey] = set()
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            found |= set(asset.keys)
        elif isinstance(asset, dg.AssetSpec | dg.SourceAsset):
            found.add(asset.key)
    return found


def _columns_of(
    key: dg.AssetKey, declared: Mapping[dg.AssetKey, Declaration], below: frozenset[dg.AssetKey]
) -> Columns | None:
    """The columns that the table of an asset will have; `None` if they cannot be known. `below` are the assets that
    depend on it: Dagster reports a cycle later."""
    found = declared.get(key)
    if isinstance(found, InputTable):
        return _arrow_types(found.typed_columns)
    if found is None or key in below:
        return None
    columns = _columns_of(source_key(found), declared, below | {key})
    if columns is None:
        return None
    found.check_input(columns)
    types = dict(columns)
    kept = [(name, types[name]) for name in found.kept_columns(tuple(types))]
    made = (*kept, *_arrow_types((column.name, column.type) for column in found.output_columns))
    by = _partition_column(found, columns)
    return made if by is None or by[0] in dict(made) else (*made, by)


def _partition_column(task: MlTask, columns: Columns) -> tuple[str, str] | None:
    """The column by which the task's table is partitioned, with its type; `None` if it is not."""
    if task.partitions is None:
        return None
    place, types = f"task {task.name!r} on input {task.input!r}", dict(columns)
    name = task.partitions.table_column(types, place)
    taken = {column.name.lower() for column in task.output_columns}
    taken |= {kept.lower() for kept in task.kept_columns(tuple(types)) if kept != name}
    if name.lower() in taken:
        raise InputSchemaError(
            f"{place}: its table is partitioned by a column {name!r}, which would have the name of another one; rename that, or "
            f"leave it out of keep_columns"
        )
    return name, types.get(name, "string")


def _arrow_types(columns: Iterable[tuple[str, str]]) -> Columns:
    from sparktorch_assets.spark.inputs.column_types import arrow_schema

    return tuple((field.name, str(field.type)) for field in arrow_schema(columns))


def _warn_of_misspelt_input(task: MlTask, keys: set[dg.AssetKey]) -> None:
    *folders, name = source_key(task).path
    there = {key.path[-1]: key.to_user_string() for key in sorted(keys) if key.path[:-1] == folders or not folders}
    close = difflib.get_close_matches(name, there, n=1, cutoff=_NEAR)
    if close:
        _LOG.warning(
            "task %r: no asset of this code location is its input %r; did you mean %r? If another code location has "
            "that asset, or it is a view of the Spark session, this can be ignored",
            task.name,
            task.input,
            there[close[0]],
        )


def _set_at_run_time(loader: ModelLoaderResource) -> bool:
    return any(isinstance(value, dg.EnvVar) for value in (loader.models_root, loader.project_root))


def _warn_of_missing_files(task: MlTask, models_place: str | Path) -> None:
    if isinstance(models_place, str):
        return  # a URI: loading a code location asks no server
    own = [name for name in task.files if not (task.model.registered and name == str(task.model.weights))]
    for name in own:
        try:
            check_file(models_place / name)
        except ModelError as error:
            _LOG.warning(
                "task %r: %s. If an upstream asset writes it before the model asset runs, this can be ignored",
                task.name,
                error,
            )
