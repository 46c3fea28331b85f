"""Finds what prevents a refresh from writing an existing Delta table: rules that others declared for its rows or files.

delta-rs checks such rules when it writes rows itself. A refresh adds and removes finished files, which are not checked
again, so a table with rules that files could break is refused before anything is computed.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deltalake import DeltaTable

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parquet.stats import LEADING_COLUMNS

_HARMLESS_FEATURES = frozenset(
    {
        # Features that are listed whether or not they are used; properties and columns are checked for their use below.
        "appendOnly",
        "checkConstraints",
        "columnMapping",
        "deletionVectors",
        "generatedColumns",
        "identityColumns",
        "invariants",
        # Features that require nothing of a writer that adds and removes whole files.
        "changeDataFeed",
        "domainMetadata",
        "timestampNtz",
        "v2Checkpoint",
        "v2Checkpoint-preview",
        "variantType",
        "vacuumProtocolCheck",
    }
)
_COLUMN_RULES = {
    "delta.invariants": "an invariant",
    "delta.generationExpression": "a generation expression",
    "delta.identity.start": "an identity sequence",
}


def write_obstacles(folder: Folder, delta: DeltaTable, files: Sequence[DataFile]) -> tuple[str, ...]:
    """The reasons why parts must not be added to or removed from this table, one phrase each; empty if there are none.

    Args:
        folder: the table's folder.
        delta: the table, at the version to check.
        files: the files of that version.
    """
    properties = delta.metadata().configuration
    found = [
        f"the constraint {key.removeprefix('delta.constraints.')!r} ({rule})"
        for key, rule in sorted(properties.items())
        if key.startswith("delta.constraints.")
    ]
    if _is_on(properties.get("delta.appendOnly")):
        found.append("the property delta.appendOnly, under which no part may be removed")
    if properties.get("delta.columnMapping.mode", "none") != "none":
        found.append("column mapping, under which files have other column names than the table")
    if any(file.deleted for file in files):
        # delta-rs cannot name the vector in a remove action, and a file is removed only together with its vector.
        found.append(
            "deletion vectors, which somebody's DELETE, UPDATE or MERGE left (REORG TABLE ... APPLY (PURGE) applies them)"
        )
    version = delta.version()
    if folder.info(f"_delta_log/{version:020}.json") is None:
        found.append(
            f"a log without the JSON file of its version {version}, for which there is only a checkpoint: delta-rs "
            f"cannot commit on it (any commit of another writer, such as Spark, repairs that)"
        )
    if "delta.dataSkippingStatsColumns" in properties or not 0 <= _indexed_columns(properties) <= LEADING_COLUMNS:
        found.append(
            "a property delta.dataSkipping..., for columns of which our files have no bounds (delta-rs would omit rows)"
        )
    fields: list[dict[str, Any]] = json.loads(delta.schema().to_json())["fields"]
    for column in fields:
        found += [
            f"{rule} on column {column['name']!r}" for key, rule in _COLUMN_RULES.items() if key in column["metadata"]
        ]
        if not column["nullable"]:
            found.append(f"NOT NULL on column {column['name']!r}")
    unknown = sorted(set(delta.protocol().writer_features or ()) - _HARMLESS_FEATURES)
    return (*found, *(f"the writer feature {name!r}" for name in unknown))


def _indexed_columns(properties: Mapping[str, str]) -> int:
    text = properties.get("delta.dataSkippingNumIndexedCols", "0")
    return int(text) if text.lstrip("-").isdigit() else -1


def _is_on(value: str | None) -> bool:
    return value is not None and value.strip().lower() == "true"
