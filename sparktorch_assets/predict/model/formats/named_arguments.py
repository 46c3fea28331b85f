"""Gives the tensors of features to a network of transformers, which takes all of its arguments by name."""

from collections.abc import Sequence

import torch

from sparktorch_assets.errors import ModelError


def by_name(
    order: Sequence[str], arguments: Sequence[torch.Tensor], named: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """All arguments by name; those without one are those of `order` that are not named, in this order.

    Raises:
        ModelError: there are more tensors without a name than that.
    """
    free = [name for name in order if name not in named]
    if len(arguments) > len(free):
        raise ModelError(
            f"the features give {len(arguments)} tensors by position, and the network takes {', '.join(free) or 'none'} so; "
            f"name the `argument` of each further feature as the network's forward does"
        )
    return named | dict(zip(free, arguments, strict=False))


def exactly(
    order: Sequence[str], arguments: Sequence[torch.Tensor], named: dict[str, torch.Tensor], feature: str
) -> tuple[torch.Tensor, ...]:
    """The tensors of a network that takes those of a single feature, in the order of `order`.

    Raises:
        ModelError: one is missing, or there is another one.
    """
    given = by_name(order, arguments, named)
    if given.keys() != set(order):
        odd = sorted(given.keys() - set(order))
        found = f"an argument {odd[0]!r}" if odd else f"no {next(name for name in order if name not in given)}"
        raise ModelError(
            f"the features give {found}, and this network takes {' and '.join(order)} of one {feature} feature; declare no "
            f"other features, or name a factory"
        )
    return tuple(given[name] for name in order)
