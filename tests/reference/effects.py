"""Ends a refresh, or lets somebody else act, between any two of its effects on the file system.

A killed process leaves what it did before, and cleans up nothing. So once `Killed` was raised, every later effect of the
same refresh (the deletion of a temporary file in a `finally`, say) raises it again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from deltalake import DeltaTable

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log import commit

_FOLDER = ("create", "open_output", "publish", "keep_young", "delete")


class Killed(BaseException):
    """Ends the process, as far as the library can tell."""


def dies() -> None:
    """What to do at a step in order to kill the refresh there."""
    raise Killed


@contextmanager
def at_step(number: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Call `act` before effect `number` of whatever runs inside the block; the effects' names are gathered in what the
    block is given. `act` itself can have effects as it likes.
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

    def watched(name: str, real: Callable, *, after: bool = False) -> Callable:
        def effect(*args, **kwargs):
            step(name)
            result = real(*args, **kwargs)
            if after:
                step(f"after {name}")
            return result

        return effect

    write = watched("commit", DeltaTable.create_write_transaction, after=True)
    create = watched("create table", commit.create_table_with_add_actions, after=True)
    with ExitStack() as watching:
        for name in _FOLDER:
            watching.enter_context(mock.patch.object(Folder, name, watched(name, getattr(Folder, name))))
        watching.enter_context(mock.patch.object(DeltaTable, "create_write_transaction", write))
        watching.enter_context(mock.patch.object(commit, "create_table_with_add_actions", create))
        yield seen
