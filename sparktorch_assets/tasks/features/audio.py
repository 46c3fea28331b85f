"""Recordings, as waveforms."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.features.checks import check_arguments, check_folder
from sparktorch_assets.tasks.features.column_types import wrong_type_of_files
from sparktorch_assets.tasks.features.group import SingleColumn
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
"""The rates that recordings and networks may have, in samples per second."""

MAX_SECONDS = 7_200.0
"""Two hours, which take 460 MB at 16,000 samples per second."""


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class AudioFeature(SingleColumn):
    """Recordings (WAV, FLAC, OGG, MP3) as padded waveforms: `values_BT` float32, 0 where padded, and `mask_BT` bool
    (True = a real sample). Channels are averaged."""

    column: str
    """The column of audio files: their bytes, or their paths or URIs, as `read` says."""
    sample_rate: int | None = None
    """Samples per second that the network expects; a recording with another rate is resampled. `None`: the rate that
    the model's Hugging Face folder names."""
    max_seconds: float = 30.0
    """Longer recordings are cut to this many seconds."""
    normalize: bool | None = None
    """Give each recording mean 0 and variance 1, after it was cut. `None`: as the model's Hugging Face folder says; for
    other models, recordings are left as they are."""
    fill: float | None = None
    """Replaces a null by this many seconds of silence. `None`: a row with a null fails."""
    read: Literal["bytes", "uri"] = "bytes"
    """What the column holds: the `bytes` of files, or with `uri` their paths or URIs, which are read through
    `pyarrow.fs`."""
    folder: str | None = None
    """With `read: uri`, the folder of relative paths: an absolute path or a URI. `None`: relative paths fail their
    row."""
    argument: str | None = None
    """The name under which `forward` gets the waveforms. `None`: by position, in the order of the groups."""
    mask_argument: str | None = None
    """The name under which `forward` gets the mask. `None`: by position, after the waveforms."""
    kind: Literal["audio"] = "audio"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names((self.column,), "AudioFeature.column")
        if self.sample_rate is not None and not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise TaskError(
                f"AudioFeature.sample_rate={self.sample_rate} must lie between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE}, "
                f"in samples per second, such as 16000"
            )
        if not 0 < self.max_seconds <= MAX_SECONDS:
            raise TaskError(f"AudioFeature.max_seconds={self.max_seconds} must be above 0 and at most {MAX_SECONDS}")
        if self.fill is not None and not 0 < self.fill <= self.max_seconds:
            raise TaskError(
                f"AudioFeature.fill={self.fill} must be above 0 and at most max_seconds={self.max_seconds}: it is the "
                f"length of the silence that replaces a null, in seconds"
            )
        check_folder(self)
        if importlib.util.find_spec("soundfile") is None:
            raise TaskError(
                f"AudioFeature.column={self.column!r}: recordings are decoded by the package soundfile, which is not "
                f"installed here; run pip install 'sparktorch-assets[audio]', here and on every worker"
            )

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in length."""
        return True

    @property
    def arguments_of_forward(self) -> tuple[str | None, ...]:
        """The names under which `forward` gets the group's tensors, in their order; `None` for one that it gets by
        position."""
        return self.argument, self.mask_argument

    @property
    def left_out(self) -> str | None:
        """What only a Hugging Face folder can say and the group does not; `None` if it is complete."""
        return (
            f"the audio feature of {self.column!r} names no sample_rate, which only a Hugging Face folder can say; give the "
            f"rate that the model was trained on, such as 16000"
            if self.sample_rate is None
            else None
        )

    def wrong_type(self, found: str) -> str | None:
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        return wrong_type_of_files(found, self.read, "WAV, FLAC, OGG or MP3 files")
