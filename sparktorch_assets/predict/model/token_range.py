"""Checks token ids before they reach a GPU.

On the CPU, an embedding raises for an id that it does not have, and that row fails. On a GPU, the kernel's assertion fails
instead, after which the process cannot use the GPU for any row.
"""

from collections.abc import Sequence

import torch

from sparktorch_assets.predict.encode.encoded import EncodedFeature, by_feature


class TokenRange:
    """The token ids that a network of transformers has embeddings for. Of other networks, nothing is known; nor is it
    known of one that contains a network of transformers which of several sequences of integers are its tokens."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._size = _embeddings(module)
        self._is_whole = _input_embeddings(module) is not None

    def check(self, features: Sequence[EncodedFeature], tensors: Sequence[torch.Tensor]) -> None:
        """Check what the features' `collate` returned for a batch.

        Raises:
            IndexError: a token id is out of range.
        """
        if self._size is None:
            return
        sequences = [
            own[0]
            for feature, own in by_feature(features, tensors)
            if feature.lengths_N is not None and not own[0].is_floating_point()
        ]
        if len(sequences) > 1 and not self._is_whole:
            return
        for ids in sequences:
            if not ids.numel():
                continue
            low, high = (int(bound) for bound in torch.aminmax(ids))
            if low < 0 or high >= self._size:
                raise IndexError(f"token {high if high >= self._size else low} is not among the network's {self._size}")


def _embeddings(module: torch.nn.Module) -> int | None:
    """The size of the largest table that a token may be looked up in; `None` if there is no network of transformers."""
    whole: set[torch.nn.Module] = set()
    sizes, others = [], []
    for part in module.modules():
        if part in whole:
            continue
        found = _input_embeddings(part)
        if found is not None:  # its other tables are of positions and the like
            whole.update(part.modules())
            sizes.append(found.num_embeddings)
        elif isinstance(part, torch.nn.Embedding):
            others.append(part.num_embeddings)
    return max(sizes + others) if sizes else None


def _input_embeddings(module: torch.nn.Module) -> torch.nn.Embedding | None:
    of_inputs = getattr(module, "get_input_embeddings", None)
    if of_inputs is None:
        return None
    try:
        found = of_inputs()
    except (AttributeError, NotImplementedError):  # a network that takes no tokens
        return None
    return found if isinstance(found, torch.nn.Embedding) else None
