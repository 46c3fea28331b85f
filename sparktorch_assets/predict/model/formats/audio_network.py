"""Runs networks of transformers that take waveforms (Wav2Vec2, HuBERT, WavLM ...), with the numbers that single
recordings give.

Shapes: B rows of a batch, T samples, F frames, C labels, E components.
"""

import itertools
from typing import Any, NamedTuple

import torch

from sparktorch_assets.predict.model.formats.named_arguments import exactly
from sparktorch_assets.tasks.files.folders.audio_settings import AudioSettings

_PADDING_IS_SEEN_BY_NONE = ("wav2vec2", "hubert")
"""Model types whose networks do not see padding behind an attention mask, if they normalize by layer."""
_ARGUMENTS = ("input_values", "attention_mask")


class Frames(NamedTuple):
    """What `AudioNetwork` returns for a network without a head: see `EmbeddingOutput`."""

    last_hidden_state: torch.Tensor
    """A vector per frame (B, F, E)."""
    mask: torch.Tensor
    """bool (B, F): which frames are not padding. There are far fewer frames than samples."""


class AudioNetwork(torch.nn.Module):
    """A network of transformers that takes what an audio feature gives: waveforms and their mask, by position or by name.

    In most of these networks, padding changes the answers for the padded rows: those with group normalization compute
    its statistics over the whole length, those without an attention mask take padding for silence, and adapters mix
    frames with the padding behind them. In these, rows of equal length are computed together, without padding.
    """

    def __init__(self, network: torch.nn.Module, settings: AudioSettings) -> None:
        super().__init__()
        self.network: Any = network
        self._masks = settings.mask
        config: Any = network.config
        self._pads = (
            settings.mask
            and config.model_type in _PADDING_IS_SEEN_BY_NONE
            and getattr(config, "feat_extract_norm", None) == "layer"
            and not getattr(config, "add_adapter", False)
        )

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> torch.Tensor | Frames:
        """The logits (B, C), or the frames' vectors if the network has no head.

        Raises:
            ModelError: the features give something else than waveforms and their mask.
            ValueError: a recording is shorter than the network's convolutions.
        """
        values_BT, mask_BT = exactly(_ARGUMENTS, arguments, named, "audio")
        lengths_B = mask_BT.sum(dim=1)
        frames_B = self.network._get_feat_extract_output_lengths(lengths_B)  # noqa: SLF001  (it has no public one)
        if int(frames_B.min()) < 1:
            raise ValueError(f"a recording of {int(lengths_B.min())} samples is too short for the network")
        if self._pads:
            found = self._answers(values_BT, mask_BT)
            return found if found.ndim < 3 else _frames([found], frames_B)
        order_B = lengths_B.argsort(stable=True)
        parts = []
        for length, rows in itertools.groupby(order_B.tolist(), key=lengths_B.tolist().__getitem__):
            alike = torch.tensor(list(rows), device=values_BT.device)
            parts.append(self._answers(values_BT[alike, :length], mask_BT[alike, :length]))
        back_B = order_B.argsort()
        if parts[0].ndim < 3:
            return torch.cat(parts)[back_B]
        sizes_B = torch.tensor([part.shape[1] for part in parts for _ in range(len(part))], device=values_BT.device)
        vectors_BFE, mask_BF = _frames(parts, sizes_B)
        return Frames(vectors_BFE[back_B], mask_BF[back_B])

    def _answers(self, values_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        mask = {"attention_mask": mask_BT.long()} if self._masks else {}
        found = self.network(input_values=values_BT, **mask)
        answers: torch.Tensor = found.logits if hasattr(found, "logits") else found.last_hidden_state
        return answers


def _frames(parts: list[torch.Tensor], frames_B: torch.Tensor) -> Frames:
    """The vectors of all parts, which may have different numbers of frames."""
    width = max(part.shape[1] for part in parts)
    padded = [torch.nn.functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in parts]
    places_F = torch.arange(width, device=frames_B.device)
    return Frames(torch.cat(padded), places_F < frames_B[:, None])
