"""Settings that a session has while our code writes from it, put back afterwards, whatever other threads do.

For DataFrames, which cannot leave their session; where we build the query ourselves, `own_session` is the better way.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_lock = threading.Lock()
_in_use: dict[tuple[Any, str], int] = {}
"""Session and setting -> how many blocks need it."""
_before: dict[tuple[Any, str], str | None] = {}


@contextmanager
def session_settings(spark: "SparkSession", settings: Mapping[str, str]) -> Iterator[None]:
    """Set session settings for a while, and put back what was there.

    Several threads can be inside at once, with the same settings: the first one sets them, the last one puts back what
    the first one found.
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
    """Equal for two Python objects that stand for one session."""
    return getattr(spark, "_jsparkSession", None) or spark.session_id  # type: ignore[attr-defined]
