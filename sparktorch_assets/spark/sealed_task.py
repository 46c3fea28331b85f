"""Brings a task to Spark's workers so that a process unpickles it once, however many Spark tasks it runs.

A function that Spark calls is pickled with all that it refers to, and unpickled in every Spark task. Of vocabularies in
the declaration, that made all entries anew each time, and what had been found out about them was lost.
"""

import hashlib
import pickle
import zlib
from collections import OrderedDict
from typing import Any

from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.plain_state import is_fixed

_MOST_OPENED = 8
"""Number of tasks that a process keeps."""

_opened: OrderedDict[str, MlTask] = OrderedDict()


class SealedTask:
    """Holds a task, and is pickled as compressed bytes, which a process opens once.

    A task that could be changed meanwhile is pickled as it is: one with a function object as a hook, which may refer to
    anything.
    """

    def __init__(self, task: MlTask) -> None:
        self.task = task

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle stores: the bytes, and their hash, so that workers need not compute it."""
        if not is_fixed(self.task):
            return SealedTask, (self.task,)
        from pyspark import cloudpickle  # planning a refresh does not load pyspark

        content = zlib.compress(cloudpickle.dumps(self.task), 1)  # type: ignore[no-untyped-call]
        return _open, (hashlib.sha256(content).hexdigest(), content)


def _open(key: str, content: bytes) -> SealedTask:
    task = _opened.get(key)
    if task is None:
        task = pickle.loads(zlib.decompress(content))  # noqa: S301  (our own bytes)
    _opened[key] = task
    _opened.move_to_end(key)
    while len(_opened) > _MOST_OPENED:
        _opened.popitem(last=False)
    return SealedTask(task)
