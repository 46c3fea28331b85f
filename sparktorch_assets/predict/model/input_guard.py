"""Protects the encoded rows of a window from a network that changes its arguments in place (`x -= mean`).

On the CPU, consecutive rows reach `forward` as a view of the window's memory. If a batch is retried, because memory ran
out or a row in it raised, it would see the changes of the first try. Therefore a network gets copies until a batch has
shown that it leaves its arguments unchanged; if a batch shows that it does not, it gets copies from then on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparktorch_assets.errors import ModelError


class InputGuard:
    """Guards the inputs of one network during one run on the CPU."""

    def __init__(self, where: str) -> None:
        """`where` names the task in the error message."""
        self._where = where
        self._leaves_inputs: bool | None = None

    @contextmanager
    def arguments(self, views: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        """The tensors to pass to `forward` instead of `views`, either copies or `views` themselves. When the block
        ends, they show whether the network changed its arguments.

        Raises:
            ModelError: `forward` failed and changed its arguments, which it had left unchanged in an earlier batch, so
                the encoded rows of the window are lost.
        """
        if self._leaves_inputs and not any(view.is_inference() for view in views):
            before = [view._version for view in views]  # noqa: SLF001  (torch's counter of in-place changes)
            try:
                yield views
            except Exception as error:
                if before != [view._version for view in views]:  # noqa: SLF001
                    raise ModelError(
                        f"{self._where}: forward changes its arguments in place in some batches, and failed in one of "
                        f"them ({type(error).__name__}: {error}), which cannot be tried again. Change copies instead: "
                        f"write `x = x - mean`, not `x -= mean`"
                    ) from error
                raise
            if before != [view._version for view in views]:  # noqa: SLF001
                self._leaves_inputs = False
            return
        copies = [view.clone() for view in views]
        try:
            yield copies
        finally:
            if self._leaves_inputs is None:
                self._leaves_inputs = all(map(_same_bytes, copies, views))


def _same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
