"""How rows are cut into batches."""

from dataclasses import dataclass

from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import positive

DEFAULT_BATCH_SIZE = 1024
"""Rows per batch for users' own model objects, for which no best size is searched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPolicy:
    """How a task's rows are cut into batches. If no limit is given, the fastest size is found on the first rows.

    A `batch_size` that is passed to a function takes precedence over the task's limits, and these over the `batch_size`
    of `ModelLoaderResource`.
    """

    batch_size: int | None = None
    """Rows per forward pass."""
    max_tokens: int | None = None
    """Tokens per forward pass, padding included (rows x tokens of the longest row), for texts."""
    max_bytes: int | None = None
    """Bytes of encoded inputs per forward pass, padding included."""
    window_rows: int = 8192
    """Rows per window. Texts are sorted by length within a window; the output keeps the input's order."""
    window_bytes: int = 64 << 20
    """Bytes of encoded inputs to hold at once. This limits a window, and the batches that are tried in search of the
    fastest size; a batch of a pinned size may exceed it."""
    deduplicate: bool = False
    """Predict equal inputs within a window only once. Use it only for deterministic models that see nothing but
    features."""
    batch_timeout_s: float | None = None
    """End the worker process if a batch takes longer, so that Spark retries its task. Off by default."""

    def __post_init__(self) -> None:
        check_fields(self)
        for field in ("batch_size", "max_tokens", "max_bytes", "window_rows", "window_bytes", "batch_timeout_s"):
            positive(getattr(self, field), f"BatchPolicy.{field}")

    @property
    def pinned(self) -> bool:
        """Whether the task sets the size of its batches."""
        return any(limit is not None for limit in (self.batch_size, self.max_tokens, self.max_bytes))
