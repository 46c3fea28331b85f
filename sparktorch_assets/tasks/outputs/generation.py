"""Text: what a sequence-to-sequence or a causal language model writes for a row."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.classification import class_bars, most_frequent
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
from sparktorch_assets.tasks.validation import positive, share

STOP, LENGTH = "stop", "length"
"""The reasons for which a text ends."""
TEXTS_END = "texts_end"
EMPTY = "empty texts"
_SAMPLING = ("temperature", "top_k", "top_p", "seed")
_OF_GENERATE = (
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "length_penalty",
    "early_stopping",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "do_sample",
    *_SAMPLING,
)
"""The options that decide which tokens the network of a folder generates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOutput(UnlabelledOutput):
    """A text per row, in `generated_text`, with the number of its tokens and the reason for its end.

    The options have the names that they have in transformers' `GenerationConfig`, and apply to the network of a Hugging
    Face folder. Those that are `None` have the value in the folder's `generation_config.json`, or transformers' default.

    A network of your own returns the ids of the new tokens (B, T), or has them as `sequences` in a dict or an object:
    whole numbers, negative ones in the places after a row's last token. `stopped` (B,), bool, says which rows have come
    to their end; without it, those with a negative number have. The tokenizer of the task's first text feature turns ids
    into text.
    """

    max_new_tokens: int | None = None
    """The largest number of tokens of a text. `None`: the folder's `max_new_tokens` (or, for a sequence-to-sequence model,
    `max_length`), or 256."""
    min_new_tokens: int | None = None
    """The smallest number of tokens of a text: before that, the model cannot end it."""
    num_beams: int | None = None
    """The number of beams of a beam search; with 1, the most probable token is taken at each step."""
    length_penalty: float | None = None
    """With beams, an exponent of the length by which scores are divided: above 0 favours long texts, below 0 short ones."""
    early_stopping: bool | None = None
    """With beams, whether the search ends as soon as there are `num_beams` whole texts."""
    repetition_penalty: float | None = None
    """Tokens that prompt or text already hold become less probable if this is above 1."""
    no_repeat_ngram_size: int | None = None
    """No sequence of this many tokens occurs twice; 0 allows all."""
    do_sample: bool = False
    """Draw each token at random by its probability. The random numbers depend on `seed` and on the row's prompt alone, so
    that a row gets the same text in whatever batch it is. A folder's own `do_sample` does not count."""
    temperature: float | None = None
    """With `do_sample`, what logits are divided by: above 1 makes texts more varied, below 1 less."""
    top_k: int | None = None
    """With `do_sample`, draw from this many most probable tokens; 0 sets no limit."""
    top_p: float | None = None
    """With `do_sample`, draw from the smallest set of most probable tokens whose probabilities add up to this."""
    seed: int = 0
    """With `do_sample`, another seed gives other texts."""
    clean_up_tokenization_spaces: bool | None = None
    """Remove the spaces that a WordPiece tokenizer leaves before punctuation. `None`: as the folder's
    `tokenizer_config.json` says; without a folder, they stay."""
    max_cut_share: float = 0.5
    """If more than this share of the texts ends because of `max_new_tokens`, a check fails."""
    kind: Literal["generation"] = "generation"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""
    drifts: ClassVar[tuple[str, ...]] = ("class_share", "number")
    """The statistics whose drift can be limited: the reasons for the texts' end, and the numbers of their tokens."""

    incomparable = "texts that differ may say the same, so that equal texts are no measure of agreement"
    """Why `challenger_of` cannot compare predictions."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_new_tokens", "min_new_tokens", "num_beams", "repetition_penalty", "temperature"):
            positive(getattr(self, name), f"GenerationOutput.{name}")
        for name in ("no_repeat_ngram_size", "top_k"):
            if (getattr(self, name) or 0) < 0:
                raise TaskError(f"GenerationOutput.{name}={getattr(self, name)!r} must not be below 0")
        if self.length_penalty is not None and not math.isfinite(self.length_penalty):
            raise TaskError(f"GenerationOutput.length_penalty={self.length_penalty!r} must be a finite number")
        if not -(2**63) <= self.seed < 2**63:
            raise TaskError(f"GenerationOutput.seed={self.seed!r} must be a number of 64 bits")
        for name in ("top_p", "max_cut_share"):
            share(getattr(self, name), f"GenerationOutput.{name}")
        if self.max_new_tokens is not None and (self.min_new_tokens or 0) > self.max_new_tokens:
            raise TaskError(
                f"GenerationOutput.min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}"
            )
        unused = [name for name in _SAMPLING if name in self.options]
        if unused and not self.do_sample:
            raise TaskError(
                f"GenerationOutput.{unused[0]} is only used to draw tokens at random; set do_sample: true, or leave it out"
            )
        if self.do_sample and (self.num_beams or 1) > 1:
            raise TaskError(
                "GenerationOutput: do_sample and num_beams above 1 exclude each other; draw tokens, or search with beams"
            )

    @property
    def options(self) -> dict[str, Any]:
        """The options of the network that are given, by their names."""
        given = {name: getattr(self, name) for name in _OF_GENERATE}
        unset = {"do_sample": False, "seed": 0}
        return {name: value for name, value in given.items() if value is not None and value != unset.get(name)}

    @property
    def number_names(self) -> tuple[str, ...]:
        """The statistics of numbers of which each predicted row has one."""
        return ("generated_tokens",)

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        return (
            OutputColumn(name="generated_text", type="string"),
            OutputColumn(name="generated_tokens", type="int"),
            OutputColumn(name="finish_reason", type="string"),
        )

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns."""
        return {"kind": self.kind, "options": self.options, "clean_up": self.clean_up_tokenization_spaces or False}

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        return ("clean_up_tokenization_spaces",) if self.clean_up_tokenization_spaces else ()

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {
            "generated_text": "What the model writes, without its special tokens; null where the row failed",
            "generated_tokens": "Number of tokens that it took, the end token included",
            "finish_reason": "stop: the model ended the text; length: it was cut at the largest number of tokens",
        }

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table."""
        text = f"At most {self.max_cut_share:.0%} of the texts are cut at the largest number of tokens"
        return (CheckSpec(name=TEXTS_END, description=text),)

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:  # noqa: ARG002  (of all outputs)
        """The checks' outcomes for a table with this tally."""
        cut = tally.classes.get(LENGTH, 0)
        passed = cut <= self.max_cut_share * tally.predicted
        return (
            CheckOutcome(name=TEXTS_END, passed=passed, details={"cut texts": cut, "predicted rows": tally.predicted}),
        )

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        return {
            "finish_reasons": class_bars(tally, "finish reason"),
            "generated_tokens": number_table(tally.numbers),
            **number_histograms(tally.numbers),
            "empty_texts": tally.marks.get(EMPTY, 0),
        }

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        shares = {name: rows / tally.predicted for name, rows in most_frequent(tally.classes)}
        return {"finish_reason_shares": json.dumps(shares), "token_means": means_of(tally.numbers)}
