"""Vectors: what a network makes of a text, an image or a row, to search or compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.report import (
    CheckOutcome,
    CheckSpec,
    Shown,
    means_of,
    number_histograms,
    number_table,
)
from sparktorch_assets.tasks.outputs.unlabelled import UnlabelledOutput
from sparktorch_assets.tasks.validation import positive

VECTORS_DIFFER = "vectors_differ"
UNIT_NORM = "unit_norm"
SAME_NUMBERS = "vectors of a single number"
NOT_UNIT = "vectors without unit norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingOutput(UnlabelledOutput):
    """One vector per row, in the column `embedding`.

    `forward` returns vectors (B, E); or, with a pooling, one vector per token (B, T, E). In a tuple or an object, they
    come first, or are called `embedding`, `last_hidden_state` or `pooler_output`. Where vectors belong to frames or
    patches instead of a feature's tokens, a bool `mask` (B, T) next to them says which are not padding.
    """

    length: int
    """Number of components. A model that returns another number is refused."""
    pooling: Literal["none", "cls", "mean"] = "none"
    """How tokens' vectors become one: `cls` takes the first token's, `mean` the mean over those that are not padding.
    A text without tokens has a mean of zeros, which the check `vectors_differ` counts."""
    normalize: bool = False
    """Divide each vector by its Euclidean norm, so that a dot product is the cosine similarity."""
    dimensions: int | None = None
    """Keep only this many components, the first ones, and normalize again if that is asked for (Matryoshka models)."""
    kind: Literal["embedding"] = "embedding"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    incomparable = (
        "vectors of two models lie in spaces of their own, so that their coordinates cannot be set against each other"
    )
    """Why `challenger_of` cannot compare predictions."""

    def __post_init__(self) -> None:
        check_fields(self)
        positive(self.length, "EmbeddingOutput.length")
        positive(self.dimensions, "EmbeddingOutput.dimensions")
        if self.dimensions is not None and self.dimensions > self.length:
            raise TaskError(f"EmbeddingOutput.dimensions={self.dimensions} is more than length={self.length}")

    @property
    def width(self) -> int:
        """Number of components that are kept."""
        return self.dimensions or self.length

    @property
    def number_names(self) -> tuple[str, ...]:
        """The statistics of numbers of which each predicted row has one."""
        return ("norm",)

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        return (OutputColumn(name="embedding", type="list<float>"),)

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns."""
        return {
            "kind": self.kind,
            "length": self.length,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dimensions": self.dimensions,
        }

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        return ("pooling",) if self.pooling != "none" else ()

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {"embedding": f"A vector of {self.width} numbers; null where the row failed"}

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table."""
        differ = CheckSpec(name=VECTORS_DIFFER, description="No vector consists of one number over and over")
        unit = CheckSpec(name=UNIT_NORM, description="Every vector has the norm 1, up to rounding")
        return (differ, unit) if self.normalize else (differ,)

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:  # noqa: ARG002  (of all outputs)
        """The checks' outcomes for a table with this tally."""
        counted = {VECTORS_DIFFER: SAME_NUMBERS, UNIT_NORM: NOT_UNIT}
        return tuple(
            CheckOutcome(
                name=spec.name,
                passed=not tally.marks.get(counted[spec.name], 0),
                details={counted[spec.name]: tally.marks.get(counted[spec.name], 0)},
            )
            for spec in self.check_specs
        )

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        return {"dimensions": self.width, "norms": number_table(tally.numbers), **number_histograms(tally.numbers)}

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        return {"norm_means": means_of(tally.numbers)}
