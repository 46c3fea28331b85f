"""Checks whether a Delta table can be read from its files: only if every reader feature that it uses is supported here.

A reader feature changes the meaning of a file's rows, columns or values. Reading a table with an unknown feature would
silently give wrong rows, so the list below names the supported ones, and all others are refused.
"""

import json
from typing import Any

from deltalake import DeltaTable

from sparktorch_assets.errors import TableError

_HONOURED = frozenset(
    {
        "columnMapping",  # `lake/files/column_mapping.py`
        "deletionVectors",  # `lake/log/logged_files.py`
        "timestampNtz",  # a type, which `lake/parquet/types.py` knows
        "v2Checkpoint",  # a format of the log, which delta-rs reads
        "variantType",  # delta-rs lists it in new tables; refused if a column is a variant
        "vacuumProtocolCheck",  # concerns only writers that vacuum by Delta's rules
    }
)
_MAPPING_VERSION, _FEATURES_VERSION = 2, 3
"""Reader versions: column mapping is allowed from the first on, and features are listed by name from the second on."""
MAPPING_MODE = "delta.columnMapping.mode"


def check_readable(table: str, delta: DeltaTable) -> None:
    """Raise `TableError`, with the name and the way out, if the table uses a feature that is not supported here."""
    protocol = delta.protocol()
    if protocol.min_reader_version > _FEATURES_VERSION:
        raise TableError(
            f"the Delta table {table!r} requires reader version {protocol.min_reader_version}, but versions up to "
            f"{_FEATURES_VERSION} are supported here. Copy its rows to a table of an older version"
        )
    unknown = sorted(set(protocol.reader_features or ()) - _HONOURED)
    if unknown:
        raise TableError(
            f"the Delta table {table!r} uses {', '.join(unknown)}, which changes what its files mean in a way that is "
            f"not supported here. Drop the feature (ALTER TABLE ... DROP FEATURE {unknown[0]}), or copy the rows to a "
            f"table without it"
        )
    if "variantType" in (protocol.reader_features or ()) and _has_variants(json.loads(delta.schema().to_json())):
        raise TableError(
            f"the Delta table {table!r} has a column of type variant, which is not supported here; cast it to a string "
            f"or a struct, or copy the rows to a table without it"
        )
    mode = delta.metadata().configuration.get(MAPPING_MODE, "none")
    may_map = protocol.min_reader_version == _MAPPING_VERSION or "columnMapping" in (protocol.reader_features or ())
    if mode not in ("none", "name", "id") or (mode != "none" and not may_map):
        raise TableError(
            f"the Delta table {table!r} sets {MAPPING_MODE}={mode!r}, which its protocol (reader version "
            f"{protocol.min_reader_version}) does not allow, so readers do not agree on its columns. Raise the "
            f"protocol or unset the property"
        )


def _has_variants(kind: Any) -> bool:
    """Whether a type, in Delta's JSON, is or contains a variant."""
    if isinstance(kind, dict):
        parts = [kind.get(key) for key in ("type", "fields", "elementType", "keyType", "valueType")]
        return any(_has_variants(part) for part in parts)
    return any(map(_has_variants, kind)) if isinstance(kind, list) else kind == "variant"
