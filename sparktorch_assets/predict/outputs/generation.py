"""Token ids become text.

Shapes: N rows of a window, B rows of a batch, T new tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, ToTexts, not_finite
from sparktorch_assets.predict.outputs.numbers import count_numbers, mark
from sparktorch_assets.predict.outputs.result import find, tensor_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import GenerationOutput
from sparktorch_assets.tasks.outputs.generation import EMPTY, LENGTH, STOP

if TYPE_CHECKING:
    import torch


class GenerationDecoder:
    """Finds where each row ends, on the device; the tokenizer does the rest.

    Args:
        output: the task's output.
        where: the task, for messages.
        to_texts: turns the ids of several rows into texts; `None` where no network's result is decoded.
    """

    def __init__(self, output: GenerationOutput, where: str, to_texts: ToTexts | None) -> None:
        self._cleans, self._where, self._to_texts = bool(output.clean_up_tokenization_spaces), where, to_texts

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`sequences` int64 (B, T), negative after a row's last token; `stopped` bool (B,), whether the row has come to
        its end; and `finite` bool (B,), whether all scores were."""
        sequences_BT = self._sequences(forward)
        found = {"sequences": sequences_BT.long().clone(), "stopped": (sequences_BT < 0).any(dim=1)}
        found["finite"] = found["stopped"].new_ones(forward.rows)
        for place, name in enumerate(("stopped", "finite"), start=1):
            given = find(forward.result, [name], place)
            if given is not None:
                what = f"`{name}` of a generation must be a tensor of booleans (B,)"
                found[name] = tensor_of(given, self._where, what)[: forward.rows].bool().clone()
        return found

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The texts, the numbers of their tokens, and why they end."""
        if self._to_texts is None:
            raise ModelError(
                f"{self._where}: a network's tokens become text with the tokenizer of a text feature, and the task has none; "
                f"declare one, or return finished texts from a model object with predict(rows)"
            )
        texts: list[str | None] = [None] * window_rows
        tokens_N = np.zeros(window_rows, dtype=np.int32)
        reasons_N = np.zeros(window_rows, dtype=np.int32)
        finite_N = np.ones(window_rows, dtype=bool)
        for rows, found in outputs:
            ended_BT = found["sequences"] < 0
            width = ended_BT.shape[1]
            lengths_B = np.where(ended_BT.any(axis=1), ended_BT.argmax(axis=1) if width else 0, width)
            ids = [ids_T[:length].tolist() for ids_T, length in zip(found["sequences"], lengths_B, strict=True)]
            for row, text in zip(rows.tolist(), self._to_texts(ids, self._cleans), strict=True):
                texts[row] = text
            tokens_N[rows], finite_N[rows] = lengths_B, found["finite"]
            reasons_N[rows] = ~found["stopped"]
        columns = {
            "generated_text": pa.array(texts, pa.string()),
            "generated_tokens": pa.array(tokens_N),
            "finish_reason": pa.DictionaryArray.from_arrays(pa.array(reasons_N), pa.array([STOP, LENGTH])),
        }
        return Decoded(columns=columns, failures=not_finite(~finite_N, "scores"))

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By the tokens: all of them are the same, or the difference is 1."""
        import torch

        one, other = self.tensors(reference), self.tensors(found)
        longest = max(one["sequences"].shape[1], other["sequences"].shape[1])
        padded = [
            torch.nn.functional.pad(part["sequences"], (0, longest - part["sequences"].shape[1]), value=-1).clamp_min(
                -1
            )
            for part in (one, other)
        ]
        both = one["finite"] & other["finite"]
        same = (padded[0] == padded[1]).all(dim=1) & both
        return one["finite"] | other["finite"], same, (both & ~same).float()

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows without a text, with a negative number of tokens, or with another reason than there are. A model object
        need not give the latter two."""
        reasons, tokens = columns["finish_reason"], columns["generated_tokens"]
        odd = pc.or_kleene(
            pc.invert(pc.is_in(reasons, value_set=pa.array([STOP, LENGTH, None], reasons.type))),
            pc.fill_null(pc.less(tokens, 0), fill_value=False),
        )
        text = f"the model gave a finish_reason other than {STOP} and {LENGTH}, or fewer generated_tokens than none"
        failures = {int(row): RowFailure("forward", "BadText", text) for row in _places(odd)}
        missing = RowFailure("forward", "NoText", "the model gave no generated_text")
        return failures | dict.fromkeys(_places(columns["generated_text"].is_null()), missing)

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Texts by the reason for their end, empty texts, and statistics of the numbers of tokens."""
        for item in pc.value_counts(column("finish_reason").cast(pa.string()).drop_null()):
            name = item["values"].as_py()
            tally.classes[name] = tally.classes.get(name, 0) + item["counts"].as_py()
        mark(EMPTY, pc.sum(pc.equal(column("generated_text"), "")).as_py() or 0, tally)
        tokens = column("generated_tokens").drop_null().to_numpy(zero_copy_only=False)
        count_numbers("generated_tokens", tokens.astype(np.float64), tally)

    def _sequences(self, forward: Forward) -> "torch.Tensor":
        found = find(forward.result, ["sequences"])
        sequences = tensor_of(found, self._where, "a generation needs a tensor of the new tokens' ids (B, T)")
        if sequences.ndim != 2 or len(sequences) != forward.computed or sequences.is_floating_point():
            raise ModelError(
                f"{self._where}: the model returned {tuple(sequences.shape)} of {sequences.dtype} for {forward.computed} "
                f"rows; a generation needs the ids of the new tokens, whole numbers of shape ({forward.computed}, T)"
            )
        return sequences[: forward.rows]


def _places(marks: pa.Array) -> list[int]:
    return [int(row) for row in np.flatnonzero(marks.to_numpy(zero_copy_only=False))]
