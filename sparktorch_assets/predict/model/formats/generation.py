"""A network of transformers that writes text: `forward` takes prompts, and returns the tokens that `generate` adds.

What a row gets depends on its prompt alone, whatever other rows its batch has and however far it is padded.

Shapes: B rows of a batch, T tokens of the longest prompt, S new tokens, R sequences (B, or B x beams), V vocabulary.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.model.formats.named_arguments import exactly
from sparktorch_assets.predict.model.formats.random_tokens import RandomTokens, prompt_hash
from sparktorch_assets.tasks.outputs import GenerationOutput

_OF_SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}
"""The options that only count when tokens are drawn, and transformers' defaults."""
_OTHERS_OF_SAMPLING = {"min_p": 0.0, "top_h": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
"""Further ones that a folder may set, with the values that change nothing; they are not applied here."""
_SEE_PADDING = {"encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0}
"""Settings that transformers applies to the padding of prompts as well, with the values that change nothing."""
_UNUSED = {
    **dict.fromkeys([*_OF_SAMPLING, *_OTHERS_OF_SAMPLING, "max_length", "max_time", "prompt_lookup_num_tokens"]),
    "do_sample": False,
    "num_return_sequences": 1,
    "return_dict_in_generate": False,
    "output_scores": False,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
}
"""Settings of a folder that do not count: the output says it, or a row's text would depend on time or come twice."""

_ARGUMENTS = ("input_ids", "attention_mask")


class NewTokens(NamedTuple):
    """What `GeneratingNetwork` returns: see `GenerationOutput`."""

    sequences: torch.Tensor
    """int64 (B, S): a row's new tokens, the end token included, then -1."""
    stopped: torch.Tensor
    """bool (B,): whether the model ended the row's text."""
    finite: torch.Tensor
    """bool (B,): whether the scores were finite at every step up to the end."""


class GeneratingNetwork(torch.nn.Module):
    """Calls `generate` with what a text feature gives, by position or by name: token ids and their mask, padded on the
    right.

    Args:
        network: a network with `generate`, of its own: its `generation_config` is changed.
        output: the task's output, whose options take precedence over the folder's.
        path: the folder, for messages.
    """

    def __init__(self, network: Any, output: GenerationOutput, path: Path) -> None:
        super().__init__()
        self.network = network
        self.causal = not network.config.is_encoder_decoder
        config = network.generation_config
        if config.stop_strings:
            raise ModelError(
                f"{path / 'generation_config.json'} sets stop_strings, which are not supported; remove them, and cut the texts "
                f"in a postprocessor"
            )
        for name, neutral in _SEE_PADDING.items():
            if getattr(config, name) not in (None, neutral):
                raise ModelError(
                    f"{path / 'generation_config.json'} sets {name}, by which a row's text would depend on its padding, and so "
                    f"on its batch; remove it there, and set repetition_penalty or no_repeat_ngram_size in the output"
                )
        if self.causal and config.min_length and output.min_new_tokens is None and not config.min_new_tokens:
            raise ModelError(
                f"{path / 'generation_config.json'} sets min_length={config.min_length}, which counts a prompt's tokens and "
                f"padding, too; set min_new_tokens in the output"
            )
        self._sampling = _sampling(output, config, path)
        self._seed = output.seed
        for name, value in output.options.items():
            if name not in ("seed", "do_sample", *_OF_SAMPLING):
                setattr(config, name, value)
        for name, value in _UNUSED.items():
            setattr(config, name, value)
        self._seen_by_row: list[tuple[str, Any]] = []
        if self.causal:  # what transformers applies to padding as well
            config.min_length = None
            self._seen_by_row = [
                (name, getattr(config, name))
                for name, neutral in (("repetition_penalty", 1.0), ("no_repeat_ngram_size", 0))
                if getattr(config, name) not in (None, neutral)
            ]
            config.repetition_penalty, config.no_repeat_ngram_size = None, None
        ends = config.eos_token_id
        self._ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        if config.pad_token_id is None:
            config.pad_token_id = self._ends[0] if self._ends else 0
        self.new_tokens: int = config.max_new_tokens
        """The largest number of tokens that a row gets."""

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> NewTokens:
        """The tokens that `generate` adds to each prompt.

        Raises:
            ModelError: the features give something else than token ids and their mask.
            ValueError: a prompt has no tokens, and the folder names none to begin a text with.
        """
        from transformers import LogitsProcessorList

        token_ids_BT, mask_BT = exactly(_ARGUMENTS, arguments, named, "text")
        config = self.network.generation_config
        ids_BT = token_ids_BT.masked_fill(~mask_BT, config.pad_token_id)
        if self.causal:
            ids_BT, mask_BT = self._left_padded(ids_BT, mask_BT)
        begin = ids_BT.shape[1] if self.causal else 1
        finite = _FiniteScores(begin)
        steps: list[Any] = [_Unpadded(name, value, mask_BT) for name, value in self._seen_by_row]
        if self._sampling is not None:
            steps += [*_warpers(self._sampling), RandomTokens(prompt_hash(ids_BT, mask_BT, self._seed), begin)]
        found_BS = self.network.generate(
            input_ids=ids_BT, attention_mask=mask_BT.long(), logits_processor=LogitsProcessorList([finite, *steps])
        )[:, begin:]
        ended_BS = torch.isin(found_BS, torch.tensor(self._ends, dtype=found_BS.dtype, device=found_BS.device))
        stopped_B = ended_BS.any(dim=1)
        lengths_B = torch.where(stopped_B, ended_BS.int().argmax(dim=1) + 1, found_BS.shape[1])
        places_S = torch.arange(found_BS.shape[1], device=found_BS.device)
        sequences_BS = found_BS.masked_fill(places_S >= lengths_B[:, None], -1)
        return NewTokens(sequences=sequences_BS, stopped=stopped_B, finite=finite.until(lengths_B))

    def _left_padded(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same rows with their padding on the left, where a causal model needs it: new tokens follow the prompt.
        A row without any tokens begins with the token that begins texts, as in transformers."""
        width = ids_BT.shape[1]
        shifts_B = width - mask_BT.sum(dim=1)
        places_BT = (torch.arange(width, device=ids_BT.device)[None, :] - shifts_B[:, None]) % width
        ids_BT, mask_BT = ids_BT.gather(1, places_BT), mask_BT.gather(1, places_BT)
        empty_B = shifts_B == width
        if empty_B.any():
            first = self.network.generation_config.bos_token_id
            if first is None:
                raise ValueError("a prompt without tokens, for which the model has no bos_token_id")
            ids_BT[:, -1] = torch.where(empty_B, first, ids_BT[:, -1])
            mask_BT[:, -1] |= empty_B
        return ids_BT, mask_BT


def _sampling(output: GenerationOutput, config: Any, path: Path) -> dict[str, Any] | None:
    """The options by which tokens are drawn; `None` if they are not."""
    if not output.do_sample:
        return None
    for name, neutral in _OTHERS_OF_SAMPLING.items():
        if getattr(config, name) not in (None, neutral):
            raise ModelError(
                f"{path / 'generation_config.json'} sets {name}, which is not supported with do_sample; remove it there, and "
                f"use temperature, top_k or top_p"
            )
    found = {}
    for name, default in _OF_SAMPLING.items():
        given = (getattr(output, name), getattr(config, name), default)
        found[name] = next(value for value in given if value is not None)
    return found


def _warpers(sampling: dict[str, Any]) -> list[Any]:
    """The steps of transformers that restrict which tokens may be drawn, in its order."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    steps: list[Any] = []
    if sampling["temperature"] != 1.0:
        steps.append(TemperatureLogitsWarper(float(sampling["temperature"])))
    if sampling["top_k"]:
        steps.append(TopKLogitsWarper(top_k=sampling["top_k"]))
    if sampling["top_p"] < 1.0:
        steps.append(TopPLogitsWarper(top_p=sampling["top_p"]))
    return steps


class _FiniteScores:
    """Looks at the scores of each step, and changes nothing: the largest of NaN would be some token all the same."""

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self._first_odd_R: torch.Tensor | None = None

    def __call__(self, input_ids_RT: torch.Tensor, scores_RV: torch.Tensor) -> torch.Tensor:
        odd_R = ~scores_RV.amax(dim=1).isfinite()
        step = input_ids_RT.shape[1] - self._begin
        never = torch.iinfo(torch.int64).max
        if self._first_odd_R is None:
            self._first_odd_R = torch.full_like(odd_R, never, dtype=torch.int64)
        self._first_odd_R = self._first_odd_R.minimum(torch.where(odd_R, step, never))
        return scores_RV

    def until(self, lengths_B: torch.Tensor) -> torch.Tensor:
        """Whether the scores were finite in the steps up to each row's end; in all of its beams. Later steps only
        continue padding."""
        assert self._first_odd_R is not None
        return self._first_odd_R.view(len(lengths_B), -1).amin(dim=1) >= lengths_B


class _Unpadded:
    """One of transformers' steps that look at all tokens before, shown each row without its padding: a penalty for
    padding, which may be the end token, would depend on the batch."""

    def __init__(self, name: str, value: Any, mask_BT: torch.Tensor) -> None:
        from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

        penalizes = name == "repetition_penalty"
        self._step = (
            RepetitionPenaltyLogitsProcessor(float(value)) if penalizes else NoRepeatNGramLogitsProcessor(value)
        )
        self._padding_B = (mask_BT.shape[1] - mask_BT.sum(dim=1)).tolist()

    def __call__(self, input_ids_RT: torch.Tensor, scores_RV: torch.Tensor) -> torch.Tensor:
        if not any(self._padding_B):
            changed_RV: torch.Tensor = self._step(input_ids_RT, scores_RV)
            return changed_RV
        beams = len(input_ids_RT) // len(self._padding_B)
        rows = [
            self._step(input_ids_RT[row : row + 1, self._padding_B[row // beams] :], scores_RV[row : row + 1])
            for row in range(len(input_ids_RT))
        ]
        return torch.cat(rows)
