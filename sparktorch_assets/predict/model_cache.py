"""Models that stay up in a worker process between tasks, so that loading is paid once per process.

Spark keeps Python workers alive between tasks unless `spark.python.worker.reuse` is false; its daemon ends a worker
that was idle for a minute.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

MAX_BYTES = 8 << 30
"""Weights kept at most; the model in use is kept whatever its size."""

_models: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()


def cached_model(key: Hashable, bring_up: Callable[[], Any], max_bytes: int = MAX_BYTES) -> Any:
    """The model under `key`, brought up if it is not there; the least recently used ones go when `max_bytes` is passed.

    A model says its size as `weight_bytes`; without it, it counts nothing.
    """
    if key in _models:
        _models.move_to_end(key)
        return _models[key][0]
    model = bring_up()
    _models[key] = (model, int(getattr(model, "weight_bytes", 0)))
    while len(_models) > 1 and sum(size for _, size in _models.values()) > max_bytes:
        _models.popitem(last=False)
    return model


def forget_models() -> None:
    """Drop every model that this process keeps."""
    _models.clear()
