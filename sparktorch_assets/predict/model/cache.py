"""Models that stay up in a worker process between tasks, so that loading is paid once per process.

Spark keeps Python workers alive between tasks unless `spark.python.worker.reuse` is false; its daemon ends a worker
that was idle for a minute.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any

MAX_BYTES = 8 << 30
"""Weights kept at most; the model in use is kept whatever its size."""

MAX_MODELS = 16
"""Models kept at most: a user's own object may hold more than can be measured."""

_DEPTH = 5
"""How far into a user's object to look for networks, tensors and arrays."""

_LOOKED_AT = 1000
"""Items of a collection to look at: a vocabulary may have millions."""

_models: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()


def cached_model(key: Hashable | None, bring_up: Callable[[], Any], max_bytes: int = MAX_BYTES) -> Any:
    """The model under `key`, brought up if it is not there (and each time, and not kept, if the key is `None`); the least recently used ones go when there are more than
    `MAX_MODELS`, or when `max_bytes` is passed.

    A model says its size as `weight_bytes`. Without that, the networks, tensors and arrays count that are found in its
    attributes.
    """
    if key is None:
        return bring_up()
    if key in _models:
        _models.move_to_end(key)
        return _models[key][0]
    model = bring_up()
    _models[key] = (model, _weight_bytes(model))
    while len(_models) > 1 and (len(_models) > MAX_MODELS or sum(size for _, size in _models.values()) > max_bytes):
        _models.popitem(last=False)
    return model


def forget_models() -> None:
    """Drop every model that this process keeps."""
    _models.clear()


def _weight_bytes(model: Any) -> int:
    said = getattr(model, "weight_bytes", None)
    if said is not None:
        return int(said)
    import torch  # a model is up, so it is loaded

    found: dict[int, int] = {}
    level = [model]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, torch.nn.Module):
                below += [*item.parameters(), *item.buffers()]
            elif isinstance(item, torch.Tensor):
                found[id(item)] = item.numel() * item.element_size()
            elif isinstance(getattr(item, "nbytes", None), int):
                found[id(item)] = item.nbytes
            elif isinstance(item, dict | list | tuple):
                held = item.values() if isinstance(item, dict) else item
                below += itertools.islice(held, _LOOKED_AT)
            elif not isinstance(item, type | ModuleType):
                below += getattr(item, "__dict__", {}).values()
        level = below
    return sum(found.values())
