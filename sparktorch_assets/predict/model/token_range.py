"""Checks token ids before they reach a GPU.

On the CPU, an embedding raises for an id that it does not have, and that row fails. On a GPU, the kernel's assertion fails
instead, after which the process cannot use the GPU for any row.
"""

from collections.abc import Sequence

import torch

from sparktorch_assets.predict.encode.encoded import EncodedFeature


class TokenRange:
    """The token ids that a network of transformers has embeddings for. Of other networks, nothing is known."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._size = _embeddings(module)

    def check(self, features: Sequence[EncodedFeature], tensors: Sequence[torch.Tensor]) -> None:
        """Check what the features' `collate` returned for a batch.

        Raises:
            IndexError: a token id is out of range.
        """
        place = 0
        for feature in features:
            ids = tensors[place]
            place += feature.arguments
            if self._size is None or feature.lengths_N is None or ids.is_floating_point() or not ids.numel():
                continue
            low, high = (int(bound) for bound in torch.aminmax(ids))
            if low < 0 or high >= self._size:
                raise IndexError(f"token {high if high >= self._size else low} is not among the network's {self._size}")


def _embeddings(module: torch.nn.Module) -> int | None:
    for part in module.modules():
        of_inputs = getattr(part, "get_input_embeddings", None)
        if of_inputs is None:
            continue
        try:
            found = of_inputs()
        except (AttributeError, NotImplementedError):  # a network that takes no tokens
            continue
        if isinstance(found, torch.nn.Embedding):
            return found.num_embeddings
    return None
