"""Turns recordings into waveforms: decoded by libsndfile, mixed down to one channel, resampled, cut and normalized.

Shapes: T samples of a recording.
"""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.batches.sizer import TOKEN_BYTES
from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.each_file import each_file
from sparktorch_assets.predict.encode.encoded import EncodedFeature, RaggedFeature
from sparktorch_assets.predict.encode.resample import half_width, resample
from sparktorch_assets.predict.encode.stored_files import StoredFiles
from sparktorch_assets.tasks.features.audio import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFeature

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
"""The formats that are decoded, by libsndfile's names."""

MAX_CHANNELS = 64
"""Number of channels of the largest recording that is decoded."""

_BLOCK_SAMPLES = 1 << 20
"""Samples of all channels that are decoded at once, so that memory follows what a file holds and not what its header
claims."""

_ESTIMATED = "MP3"
"""The format whose header does not say exactly how many samples follow."""

Wave = npt.NDArray[np.float32]


class AudioEncoder:
    """Encodes recordings as `values_NT`, float32, and lengths."""

    def __init__(self, feature: AudioFeature) -> None:
        try:
            import soundfile
        except (ImportError, OSError) as error:  # OSError: there is no libsndfile
            raise ModelError(
                f"the recordings of column {feature.column!r} are decoded by the package soundfile, which cannot be "
                f"imported here ({error}); run pip install 'sparktorch-assets[audio]' on every worker"
            ) from error
        assert feature.sample_rate is not None  # MlTask requires it, or the model's folder has said it
        self.columns = feature.columns
        self._soundfile: Any = soundfile
        self._feature = feature
        self._rate = feature.sample_rate
        self._most = max(1, math.floor(feature.max_seconds * self._rate))
        self.row_bytes = TOKEN_BYTES * self._most
        self._files = StoredFiles(feature.folder) if feature.read == "uri" else None

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Decode every row; a row that cannot be decoded fails alone."""
        what = f"column {self._feature.column!r}"
        column = column_of(batch, self._feature.column)
        fill = self._feature.fill
        failures = null_failures(column, what) if fill is None else {}
        silence = np.zeros(round((fill or 0.0) * self._rate), dtype=np.float32)
        waves: list[Wave] = [silence] * len(column)
        truncated_N = np.zeros(len(column), dtype=bool)

        def decode(rows: Sequence[int], encoded: bytes) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # such samples are found below
                whole_T = self._decoded(encoded)
                wave_T = self._normalized(whole_T[: self._most])
            if not np.isfinite(wave_T).all():
                raise ValueError("the recording holds samples that are not numbers, or too large for float32")
            for row in rows:
                waves[row] = wave_T
                truncated_N[row] = len(whole_T) > self._most

        each_file(column, what, self._files, failures, decode)
        for row in failures:
            waves[row] = silence[:0]
        lengths_N = np.fromiter(map(len, waves), dtype=np.int64, count=len(waves))
        values = np.concatenate([silence[:0], *waves])
        return RaggedFeature(values, np.concatenate(([0], np.cumsum(lengths_N))), lengths_N, failures, truncated_N)

    def _decoded(self, encoded: bytes) -> Wave:
        try:
            return self._wave(encoded)
        except self._soundfile.LibsndfileError as error:  # its whole message names an object's place in memory
            raise ValueError(f"libsndfile cannot read the recording: {error.error_string}") from None

    def _wave(self, encoded: bytes) -> Wave:
        """The recording at the feature's rate, or somewhat more than its first `max_seconds`."""
        with self._soundfile.SoundFile(io.BytesIO(encoded)) as file:
            if file.format not in FORMATS:
                raise ValueError(f"the recording is a {file.format} file; known are {', '.join(FORMATS)}")
            if not MIN_SAMPLE_RATE <= file.samplerate <= MAX_SAMPLE_RATE:
                raise ValueError(
                    f"the recording has {file.samplerate:,} samples per second; known are {MIN_SAMPLE_RATE:,} to "
                    f"{MAX_SAMPLE_RATE:,}"
                )
            if file.channels > MAX_CHANNELS:
                raise ValueError(f"the recording has {file.channels} channels; at most {MAX_CHANNELS} are decoded")
            # One new sample more than fit shows that some were cut, and the last ones depend on old ones after them.
            ahead = half_width(file.samplerate, self._rate)
            most = math.ceil((self._most + 1) * file.samplerate / self._rate) + ahead
            return resample(self._mixed(file, most), file.samplerate, self._rate)

    def _mixed(self, file: Any, most: int) -> Wave:
        """The mean of the channels, of at most this many samples."""
        blocks: list[Wave] = []
        missing = most
        while missing > 0:
            block = file.read(min(missing, _BLOCK_SAMPLES // file.channels), dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(block.mean(axis=1))
            missing -= len(block)
        read = most - missing
        if not read:
            raise ValueError("the recording holds no samples")
        if read < min(most, file.frames) and file.format != _ESTIMATED:
            raise ValueError(f"the recording ends after {read:,} of {file.frames:,} samples")
        return np.concatenate(blocks)

    def _normalized(self, wave_T: Wave) -> Wave:
        # As Wav2Vec2FeatureExtractor does it, with the same term against division by zero.
        return (wave_T - wave_T.mean()) / np.sqrt(wave_T.var() + 1e-7) if self._feature.normalize else wave_T
