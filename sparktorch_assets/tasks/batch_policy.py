"""How rows are cut into batches."""

from dataclasses import dataclass

from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import positive

DEFAULT_BATCH_SIZE = 1024
"""Rows a batch for model objects whose best size is not searched for (a user's own)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPolicy:
    """How a task's rows are cut into batches. With no limit given, the fastest size is found on the first rows."""

    batch_size: int | None = None
    """Rows a forward pass."""
    max_tokens: int | None = None
    """Padded tokens a forward pass (rows x the longest of them), for texts."""
    max_bytes: int | None = None
    """Bytes of encoded inputs a forward pass, padding included."""
    window_rows: int = 8192
    """Rows within which texts are put in order of length; they come back in the input's order."""
    window_bytes: int = 64 << 20
    """Bytes of encoded inputs to hold at once: of such a window, and of the batches that are tried in search of the
    fastest. A size that is pinned goes beyond it."""
    deduplicate: bool = False
    """Predict equal inputs within a window once. Only for a deterministic model that sees nothing but its features."""
    batch_timeout_s: float | None = None
    """End the worker process when a batch takes longer, so that Spark tries its task again. Off by default."""

    def __post_init__(self) -> None:
        check_fields(self)
        for field in ("batch_size", "max_tokens", "max_bytes", "window_rows", "window_bytes", "batch_timeout_s"):
            positive(getattr(self, field), f"BatchPolicy.{field}")

    @property
    def pinned(self) -> bool:
        """Whether the task says how large batches are."""
        return any(limit is not None for limit in (self.batch_size, self.max_tokens, self.max_bytes))
