"""How a Hugging Face folder's feature extractor prepares a recording, in the terms of an audio feature."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.folder_json import read_settings

_WAVEFORMS = "Wav2Vec2FeatureExtractor"
"""The feature extractor of Wav2Vec2, HuBERT, WavLM and others that take waveforms; it has the same defaults for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioSettings:
    """What is done to a waveform, and whether the network gets a mask."""

    sample_rate: int
    """In samples per second."""
    normalize: bool
    """Whether each recording gets mean 0 and variance 1."""
    mask: bool
    """Whether the network gets an attention mask; without one, it takes padding for silence."""

    def __str__(self) -> str:
        normalize, mask = (str(value).lower() for value in (self.normalize, self.mask))
        return f"sample_rate {self.sample_rate}, normalize {normalize}, attention mask {mask}"

    @classmethod
    def of_folder(cls, path: Path) -> "AudioSettings":
        """Read `preprocessor_config.json`.

        Raises:
            ModelError: there is no such file, or it does something that an audio feature does not.
        """
        file = path / "preprocessor_config.json"
        given = read_settings(file)
        odd = [what for does, what in _unknown(given) if does]
        if odd:
            raise ModelError(
                f"{file} {odd[0]}, which an audio feature does not do. Name a factory in the task's model, and prepare "
                f"the recordings in a custom feature's encoder"
            )
        return cls(
            sample_rate=int(given.get("sampling_rate", 16_000)),
            normalize=bool(given.get("do_normalize", True)),
            mask=bool(given.get("return_attention_mask", False)),
        )


def _unknown(given: dict[str, Any]) -> tuple[tuple[bool, str], ...]:
    extractor = given.get("feature_extractor_type")
    return (
        (extractor != _WAVEFORMS, f"prepares recordings with {extractor} instead of {_WAVEFORMS}"),
        (given.get("feature_size", 1) != 1, f"makes {given.get('feature_size')} numbers of a sample (feature_size)"),
        (given.get("padding_value", 0) != 0, f"pads with {given.get('padding_value')} (padding_value)"),
        (given.get("padding_side", "right") != "right", "pads at the beginning (padding_side)"),
    )
