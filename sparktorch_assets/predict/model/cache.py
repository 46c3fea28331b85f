"""Keeps models in a worker process between Spark tasks, so that each is loaded once per process.

Spark keeps Python workers alive between tasks unless `spark.python.worker.reuse` is false; its daemon ends a worker
that has been idle for a minute.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import ModuleType

from sparktorch_assets.predict.protocols import ModelObject

MAX_BYTES = 8 << 30
"""Maximum total size of the cached weights; the model in use is kept whatever its size."""

MAX_MODELS = 16
"""Maximum number of cached models, since a user's own object may hold more memory than can be measured."""

_DEPTH = 5
"""How many levels deep a user's object is searched for networks, tensors and arrays."""

_MAX_ITEMS = 1000
"""Number of items of a collection that are searched: a vocabulary may have millions."""

_models: OrderedDict[Hashable, tuple[ModelObject, int]] = OrderedDict()


def cached_model(key: Hashable | None, bring_up: Callable[[], ModelObject], max_bytes: int = MAX_BYTES) -> ModelObject:
    """The model cached under `key`, brought up if it is not there. With the key `None`, it is brought up on every call
    and not cached.

    The least recently used models are dropped once there are more than `MAX_MODELS`, or their weights exceed
    `max_bytes`. A model states its size as `weight_bytes`; without that, the networks, tensors and arrays in its
    attributes count.
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
    """Drop every cached model of this process."""
    _models.clear()


def drop_models_on_gpus(*, but_on: str = "") -> None:
    """Drop the cached models of this process that are on a GPU other than `but_on` (`cuda:1`), and return their memory
    to the driver. Models are on the device that their key ends with."""
    gone = [key for key in _models if (device := _device_of(key)).startswith("cuda") and device != but_on]
    for key in gone:
        del _models[key]
    if gone:
        import torch

        torch.cuda.empty_cache()


def _device_of(key: Hashable) -> str:
    return str(key[-1]) if isinstance(key, tuple) else ""


def _weight_bytes(model: object) -> int:
    said = getattr(model, "weight_bytes", None)
    if said is not None:
        return int(said)
    import torch  # already imported, since a model has been brought up

    found: dict[int, int] = {}
    level: list[object] = [model]
    for _ in range(_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, torch.nn.Module):
                below += [*item.parameters(), *item.buffers()]
            elif isinstance(item, torch.Tensor):
                found[id(item)] = item.numel() * item.element_size()
            elif isinstance(nbytes := getattr(item, "nbytes", None), int):
                found[id(item)] = nbytes
            elif isinstance(item, dict | list | tuple):
                held = item.values() if isinstance(item, dict) else item
                below += itertools.islice(held, _MAX_ITEMS)
            elif not isinstance(item, type | ModuleType):
                below += getattr(item, "__dict__", {}).values()
        level = below
    return sum(found.values())
