"""Runs networks of transformers that take waveforms (Wav2Vec2, HuBERT, WavLM ...), with the numbers that single
recordings give.

Shapes: B rows of a batch, T samples.
"""

import itertools
from typing import Any

import torch

from sparktorch_assets.tasks.files.audio_settings import AudioSettings

_PADDING_IS_SEEN_BY_NONE = ("wav2vec2", "hubert")
"""Model types whose networks do not see padding behind an attention mask, if they normalize by layer."""


class AudioNetwork(torch.nn.Module):
    """A network of transformers that takes what an audio feature gives: waveforms and their mask, by position.

    In most of these networks, padding changes the answers for the padded rows: those with group normalization compute
    its statistics over the whole length, and those without an attention mask take padding for silence. In these, rows of
    equal length are computed together, without padding.
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
        )

    def forward(self, values_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """The logits (B, C).

        Raises:
            ValueError: a recording is shorter than the network's convolutions.
        """
        lengths_B = mask_BT.sum(dim=1)
        if int(self.network._get_feat_extract_output_lengths(lengths_B).min()) < 1:  # noqa: SLF001  (it has no public one)
            raise ValueError(f"a recording of {int(lengths_B.min())} samples is too short for the network")
        if self._pads:
            return self._logits(values_BT, mask_BT)
        order_B = lengths_B.argsort(stable=True)
        parts = []
        for length, rows in itertools.groupby(order_B.tolist(), key=lengths_B.tolist().__getitem__):
            alike = torch.tensor(list(rows), device=values_BT.device)
            parts.append(self._logits(values_BT[alike, :length], mask_BT[alike, :length]))
        return torch.cat(parts)[order_B.argsort()]

    def _logits(self, values_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        mask = {"attention_mask": mask_BT.long()} if self._masks else {}
        logits: torch.Tensor = self.network(input_values=values_BT, **mask).logits
        return logits
