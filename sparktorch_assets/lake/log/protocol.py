"""Which Delta tables can be read by their files: those of which every reader feature in use is known here.

A reader feature changes what a file's rows, columns or values mean. Reading a table in spite of an unknown one gives wrong
rows without an error, so the list below names what is honoured, and everything else is refused.
"""

import json
from typing import Any

from deltalake import DeltaTable

from sparktorch_assets.errors import TableError

_HONOURED = frozenset(
    {
        "columnMapping",  # `lake/log/column_mapping.py`
        "deletionVectors",  # `lake/log/logged_files.py`
        "timestampNtz",  # a type, which `lake/parquet/types.py` knows
        "v2Checkpoint",  # a form of the log, which delta-rs reads
        "variantType",  # delta-rs lists it in new tables; refused where a column is a variant
        "vacuumProtocolCheck",  # asks something of whoever deletes files by Delta's rules
    }
)
_MAPPING_VERSION, _FEATURES_VERSION = 2, 3
"""Reader versions: from the first on, column mapping may be used, from the second on, features are listed by name."""
MAPPING_MODE = "delta.columnMapping.mode"


def check_readable(table: str, delta: DeltaTable) -> None:
    """Raise TableError where the table uses what is not honoured here, with its name and the way out."""
    protocol = delta.protocol()
    if protocol.min_reader_version > _FEATURES_VERSION:
        raise TableError(
            f"the Delta table {table!r} asks for readers of version {protocol.min_reader_version}, and versions up to "
            f"{_FEATURES_VERSION} are known here. Copy its rows to a table of an older version"
        )
    unknown = sorted(set(protocol.reader_features or ()) - _HONOURED)
    if unknown:
        raise TableError(
            f"the Delta table {table!r} uses {', '.join(unknown)}, which changes what its files mean in a way that is not "
            f"known here. Drop the feature (ALTER TABLE ... DROP FEATURE {unknown[0]}), or copy the rows to a table without "
            f"it"
        )
    if "variantType" in (protocol.reader_features or ()) and _has_variants(json.loads(delta.schema().to_json())):
        raise TableError(
            f"the Delta table {table!r} has a column of type variant, whose values are not known here; cast it to a string or "
            f"a struct, or copy the rows to a table without it"
        )
    mode = delta.metadata().configuration.get(MAPPING_MODE, "none")
    may_map = protocol.min_reader_version == _MAPPING_VERSION or "columnMapping" in (protocol.reader_features or ())
    if mode not in ("none", "name", "id") or (mode != "none" and not may_map):
        raise TableError(
            f"the Delta table {table!r} sets {MAPPING_MODE}={mode!r}, which its protocol (reader version "
            f"{protocol.min_reader_version}) does not allow, so readers do not agree on its columns. Raise the protocol or "
            f"unset the property"
        )


def _has_variants(kind: Any) -> bool:
    """Whether a type, in Delta's JSON, is a variant or has one inside."""
    if isinstance(kind, dict):
        parts = [kind.get(key) for key in ("type", "fields", "elementType", "keyType", "valueType")]
        return any(_has_variants(part) for part in parts)
    return any(map(_has_variants, kind)) if isinstance(kind, list) else kind == "variant"
