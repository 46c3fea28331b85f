"""Finds tensors in what `forward` returned: a tensor, a tuple, a dict, a named tuple or an object with attributes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import ModelError

if TYPE_CHECKING:
    import torch


_SAME = 0.01
"""Numbers count as the same if they differ by no more than this share of the reference."""


def find(result: Any, names: Sequence[str], place: int | None = 0) -> Any:
    """The value under the first of these names, or at `place` of a plain tuple or list; a tensor itself is at place 0.
    `None` if there is none.

    >>> find({"logits": 1, "loss": 2}, ["scores", "logits"]), find((3, 4), ["embedding"], 1), find((3,), [], 1)
    (1, 4, None)
    """
    import torch

    if isinstance(result, torch.Tensor):
        return result if place == 0 else None
    plain = isinstance(result, tuple | list) and not hasattr(result, "_fields")  # not a named tuple
    for name in () if plain else names:
        value = result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)
        if value is not None:
            return value
    if isinstance(result, tuple | list) and place is not None and place < len(result):
        return result[place]
    return None


def tensor_of(value: Any, where: str, what: str) -> "torch.Tensor":
    """The value, if it is a tensor.

    Raises:
        ModelError: it is not.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        found = "nothing of that name" if value is None else f"a {type(value).__name__}"
        raise ModelError(f"{where}: forward returned {found}; {what}")
    return value


def names_in(result: Any) -> str:
    """What `forward` returned, by name, for messages.

    >>> names_in({"logits": 1, "loss": 2}), names_in((3, 4))
    ('logits, loss', '2 values without a name')
    """
    if isinstance(result, Mapping):
        return ", ".join(map(str, result)) or "nothing"
    if isinstance(result, tuple | list):
        return ", ".join(getattr(result, "_fields", ())) or f"{len(result)} values without a name"
    return f"one {type(result).__name__} without a name"


def compare_numbers(
    pairs: "Iterable[tuple[torch.Tensor, torch.Tensor]]",
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """`Decoder.compare` for numbers.

    Args:
        pairs: for each number or vector, the reference (B, K) and what is compared with it. Each is measured by its own
            norm, since a large one would hide the differences of a small one.

    Returns:
        A row is the same if each difference is at most 1 % of the reference's norm; the largest such share is the row's
        difference.
    """
    import torch

    one, other, shares = zip(*(_shares(*pair) for pair in pairs), strict=True)
    finite_one, finite_other = torch.stack(one).all(dim=0), torch.stack(other).all(dim=0)
    both = finite_one & finite_other
    difference = torch.stack(shares).amax(dim=0).masked_fill(~both, 0.0)
    return finite_one | finite_other, both & (difference <= _SAME), difference


def _shares(
    reference_BK: "torch.Tensor", found_BK: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Whether each of the two is finite, and the difference relative to the reference."""
    one, other = reference_BK.double(), found_BK.double()
    share = (one - other).norm(dim=1) / one.norm(dim=1).clamp_min(1e-12)
    return one.isfinite().all(dim=1), other.isfinite().all(dim=1), share
