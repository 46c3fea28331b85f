"""Keeps the encoded rows of a window from a network that changes its arguments in place (`x -= mean`).

On the CPU, consecutive rows reach `forward` as a view of the window's memory. A batch that is tried again, because memory
ran out or a row in it raises, would find what the first try left there. So a network is given copies until a batch has shown
that it leaves its arguments as they are, and ever after where one has shown that it does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparktorch_assets.errors import ModelError


class InputGuard:
    """For one run of one network on the CPU."""

    def __init__(self, where: str) -> None:
        """Know nothing of the network yet; `where` names the task, for the error."""
        self._where = where
        self._leaves_inputs: bool | None = None

    @contextmanager
    def arguments(self, views: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        """What `forward` may have in place of `views`; the network is judged when the block ends.

        Raises:
            ModelError: `forward` failed, and changed its arguments, which it had left alone in a batch before: how the rows
                of the window were encoded is lost.
        """
        if self._leaves_inputs and not any(view.is_inference() for view in views):
            before = [view._version for view in views]  # noqa: SLF001  (torch's own count of changes in place)
            try:
                yield views
            except Exception as error:
                if before != [view._version for view in views]:  # noqa: SLF001
                    raise ModelError(
                        f"{self._where}: forward changes its arguments in place in some batches, and failed in one of "
                        f"these ({type(error).__name__}: {error}), which cannot be tried again. Change copies: write "
                        f"`x = x - mean` in place of `x -= mean`"
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
