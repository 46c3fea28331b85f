"""Changes settings of a session while our code writes from it, and restores them afterwards, whatever other threads do.

This is for DataFrames, which cannot leave their session. For queries that we build ourselves, `own_session` is better.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_lock = threading.Lock()
_in_use: dict[tuple[Any, str], int] = {}
"""Session and setting -> number of blocks that need it at present."""
_before: dict[tuple[Any, str], str | None] = {}


@contextmanager
def session_settings(spark: "SparkSession", settings: Mapping[str, str]) -> Iterator[None]:
    """Change session settings inside the block, and restore them at its end.

    Several threads can be inside at once, with the same settings: the first one changes them, and the last one restores
    what the first one found.
    """
    session = _identity(spark)
    with _lock:
        for key, value in settings.items():
            entry = session, key
            if not _in_use.get(entry):
                _before[entry] = spark.conf.get(key, None)
                spark.conf.set(key, value)
            _in_use[entry] = _in_use.get(entry, 0) + 1
    try:
        yield
    finally:
        with _lock:
            for key in settings:
                entry = session, key
                _in_use[entry] -= 1
                if not _in_use[entry]:
                    del _in_use[entry]
                    _put_back(spark, key, _before.pop(entry))


def _put_back(spark: "SparkSession", key: str, old: str | None) -> None:
    if old is None:
        spark.conf.unset(key)
    else:
        spark.conf.set(key, old)


def _identity(spark: "SparkSession") -> Any:
    """A value that is equal for two Python objects that represent the same session."""
    return getattr(spark, "_jsparkSession", None) or spark.session_id  # type: ignore[attr-defined]
