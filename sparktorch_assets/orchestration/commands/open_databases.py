"""Keeps the SQLite files of a DAGSTER_HOME open during a run, so that an event costs a write and not five.

Dagster opens and closes a connection for each event, of which a run of the sample project has some four hundred. When
the last connection to such a file is closed, SQLite moves its write-ahead log into the file, waits for the disk twice,
and deletes the log; and each commit waits for the disk as well. Here, one more connection to each file stays open until
the end, and commits wait for the disk only when the log is moved. If the power fails during a run, Dagster may therefore
not know of its last events, as after a run that was killed; its files stay consistent, and tables do not depend on them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def open_databases() -> Iterator[None]:
    """Inside the block, this process's connections to SQLite files do not wait for the disk at each commit, and the last
    connection to each file is closed when the block ends."""
    held: set[str] = set()
    with ExitStack() as connections:

        def connected(connection: Any, _record: Any) -> None:
            if not isinstance(connection, sqlite3.Connection):
                return
            connection.execute("PRAGMA synchronous=NORMAL")  # consistent at any moment, with a write-ahead log
            path = connection.execute("PRAGMA database_list").fetchone()[2]
            if path and path not in held and _has_log(connection):
                held.add(path)
                connections.enter_context(closing(_held(path)))

        event.listen(Engine, "connect", connected)
        try:
            yield
        finally:
            event.remove(Engine, "connect", connected)


def _has_log(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _held(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA schema_version").fetchone()  # until it has read once, SQLite does not count it
    return connection
