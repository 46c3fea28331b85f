"""Ends a refresh, or lets somebody else act, between any two of its effects on the table's folder.

A killed process leaves behind what it did before, and cleans up nothing. So once `Killed` was raised, every later
effect of the same refresh (the deletion of a temporary file in a `finally`, for example) raises it again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from deltalake import DeltaTable

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log import commit

_FOLDER = ("create", "open_output", "publish", "keep_young", "delete")


class Killed(BaseException):
    """Ends the refresh as `kill -9` would, as far as the library can tell. No handler of `Exception` catches it."""


def die() -> None:
    """Raise `Killed`: what to do at a step in order to end the refresh there."""
    raise Killed


@contextmanager
def at_step(number: int, act: Callable[[], object]) -> Iterator[list[str]]:
    """Call `act` before step `number`, counted from 0, of whatever runs inside the block.

    A step is an effect on the table's folder in this process: a folder is created, a file is opened, gets its final
    name or is deleted, a version is committed. What Spark's workers do are steps of theirs, and not counted here.

    Args:
        number: the step. If fewer happen, `act` is not called.
        act: what happens at the step, such as `die`. Its own effects are not counted.

    Yields:
        The names of the steps so far; the last one is the one that `act` came before, if that raised.
    """
    seen: list[str] = []
    inside, dead = False, False

    def step(name: str) -> None:
        nonlocal inside, dead
        if inside:
            return
        if dead:
            raise Killed
        seen.append(name)
        if len(seen) - 1 == number:
            inside = True
            try:
                act()
            except Killed:
                dead = True
                raise
            finally:
                inside = False

    def watched(name: str, real: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
        def effect(*args: Any, **kwargs: Any) -> Any:
            step(name)
            result = real(*args, **kwargs)
            if after:
                step(f"after {name}")
            return result

        return effect

    write = watched("commit", DeltaTable.create_write_transaction, after=True)
    create = watched("create table", vars(commit)["create_table_with_add_actions"], after=True)
    with ExitStack() as watching:
        for name in _FOLDER:
            watching.enter_context(mock.patch.object(Folder, name, watched(name, getattr(Folder, name))))
        watching.enter_context(mock.patch.object(DeltaTable, "create_write_transaction", write))
        watching.enter_context(mock.patch.object(commit, "create_table_with_add_actions", create))
        yield seen


def killed_at(number: int, refresh: Callable[[], object]) -> str | None:
    """Run a refresh, and kill it before its step `number`; see `at_step`.

    Args:
        number: the step, counted from 0.
        refresh: runs the refresh, such as a call of `score_table`.

    Returns:
        The name of the step, or `None` if the refresh had fewer steps and has therefore ended by itself.
    """
    with at_step(number, die) as seen:
        try:
            refresh()
        except (Killed, Exception):  # a worker in this process passes `Killed` on as an error of its own
            if len(seen) <= number:
                raise
            return seen[number]
    return None
