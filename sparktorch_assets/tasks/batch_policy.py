"""How rows are cut into batches."""

from dataclasses import dataclass

from sparktorch_assets.tasks.plain import positive

DEFAULT_BATCH_SIZE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPolicy:
    """How a task's rows are cut into batches."""

    batch_size: int | None = None
    """Rows a forward pass. `None` takes what the caller or the model loader says, else 1,024."""

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            positive(self.batch_size, "BatchPolicy.batch_size")
