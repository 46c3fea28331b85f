"""`kind: audio`: waveforms are what was recorded, at the rate that the network expects; what cannot be heard fails alone."""

import struct
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from sounds import noise, sine, stored

from sparktorch_assets.errors import InputSchemaError, ModelError, TaskError
from sparktorch_assets.predict.encode import audio as encode_audio
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.encode.resample import resample
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import AudioFeature, MlTask, ModelSpec, RegressionOutput


def encode(files, kind=None, **declared):
    feature = AudioFeature(column="a", **{"sample_rate": 8_000} | declared)
    encoded = make_encoder(feature, ".").encode(pa.record_batch({"a": pa.array(files, kind)}))
    values_BT, mask_BT = encoded.collate(np.arange(len(files)))
    waves = [row[mask].numpy() for row, mask in zip(values_BT, mask_BT, strict=True)]
    return waves, encoded


@pytest.mark.promise("M196")
@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "FLOAT", 0),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("FLAC", "PCM_16", 2**-15),
        ("OGG", "VORBIS", 0.3),
        ("MP3", "MPEG_LAYER_III", None),
    ],
)
def test_files_of_each_format_become_their_waveform(kind, subtype, tolerance):
    """Exactly, or as exactly as the format stores it; channels are averaged."""
    left, right = sine(440, 0.5, 8_000), sine(220, 0.5, 8_000)
    (mono, stereo), encoded = encode(
        [stored(left, kind=kind, subtype=subtype), stored(np.stack((left, right), axis=1), kind=kind, subtype=subtype)]
    )
    assert not encoded.failures
    for found, wanted in ((mono, left), (stereo, (left + right) / 2)):
        if tolerance is None:  # a delay precedes the samples of an MP3
            assert abs(len(found) - len(wanted)) <= 2_304
            assert np.sqrt((found**2).mean()) == pytest.approx(np.sqrt((wanted**2).mean()), rel=0.2)
        else:
            assert len(found) == len(wanted)
            assert np.abs(found - wanted).max() <= tolerance + 1e-7


@pytest.mark.promise("M206")
@pytest.mark.parametrize(
    ("old", "new"), [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (22_050, 8_000), (11_025, 8_000)]
)
def test_resampling_keeps_sines_and_lets_nothing_alias(old, new):
    """Below 0.9 of the lower Nyquist frequency, samples are those of the same sine at the new rate; above it, 60 dB less
    than before remain (and in fact 100)."""
    nyquist = min(old, new) / 2
    for share in (0.01, 0.3, 0.6, 0.9):
        found = resample(sine(share * nyquist, 0.5, old, 1.0), old, new)
        wanted = sine(share * nyquist, len(found) / new, new, 1.0)
        assert len(found) == -(-round(0.5 * old) * new // old)
        inside = slice(len(found) // 4, -len(found) // 4)
        assert np.abs(found - wanted)[inside].max() < 1e-4
    for hertz in np.linspace(nyquist * 1.001, old / 2.02, 4) if old > new else ():
        left = resample(sine(hertz, 0.5, old, 1.0), old, new)
        assert np.abs(left[len(left) // 4 : -len(left) // 4]).max() < 1e-4
    constant = resample(np.ones(old // 4, np.float32), old, new)
    assert np.abs(constant[len(constant) // 3 : -len(constant) // 3] - 1).max() < 1e-6


@pytest.mark.promise("M197")
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_longer_recordings_are_cut_and_counted(rate):
    """The first seconds of the whole, not those of a recording that ends there."""
    whole = noise(2 * rate)
    files = [stored(whole, rate), stored(whole[: rate // 2], rate)]
    (cut, short), encoded = encode(files, max_seconds=0.5)
    assert encoded.truncated_N.tolist() == [True, False]
    assert (len(cut), len(short)) == (4_000, 4_000)
    assert np.allclose(cut, resample(whole, rate, 8_000)[:4_000], atol=1e-6)


@pytest.mark.promise("M197")
def test_normalized_recordings_are_those_of_the_feature_extractor():
    from transformers import Wav2Vec2FeatureExtractor

    extract = Wav2Vec2FeatureExtractor(sampling_rate=8_000, do_normalize=True)
    waves = [noise(900) + 0.3, sine(300, 0.25, 8_000), np.zeros(50, np.float32)]
    found, _ = encode([stored(wave) for wave in waves], normalize=True)
    for one, wave in zip(found, waves, strict=True):
        assert np.array_equal(one, extract(wave, sampling_rate=8_000)["input_values"][0])


@pytest.mark.promise("M198")
def test_nulls_fail_or_are_silence():
    file = stored(noise(100))
    waves, encoded = encode([file, None])
    assert {row: one.kind for row, one in encoded.failures.items()} == {1: "Null"}
    waves, encoded = encode([file, None], fill=0.5)
    assert not encoded.failures
    assert np.array_equal(waves[1], np.zeros(4_000, np.float32))
    _, encoded = encode([None, None], pa.null())
    assert sorted(encoded.failures) == [0, 1]


def claiming(frames):
    """A FLAC of 100 samples that says that it has this many."""
    file = bytearray(stored(noise(100), kind="FLAC", subtype="PCM_16"))
    assert int.from_bytes(file[21:26], "big") & (2**36 - 1) == 100
    file[21:26] = (int.from_bytes(file[21:26], "big") & ~(2**36 - 1) | frames).to_bytes(5, "big")
    return bytes(file)


def of_rate(rate):
    file = bytearray(stored(noise(100), subtype="PCM_16"))
    file[24:28] = struct.pack("<I", rate)
    return bytes(file)


BROKEN = {
    "no recording": (b"not a recording", "libsndfile cannot read the recording: Format not recognised."),
    "empty": (b"", "libsndfile cannot read the recording"),
    "no samples": (stored(noise(0)), "the recording holds no samples"),
    "nan": (stored(np.array([0.1, np.nan, 0.2], np.float32)), "samples that are not numbers"),
    "infinite": (stored(np.array([0.1, np.inf], np.float32)), "samples that are not numbers"),
    "another format": (stored(noise(100), kind="AIFF", subtype="PCM_16"), "is a AIFF file; known are WAV"),
    "many channels": (stored(noise(1_000).reshape(10, 100)), "has 100 channels; at most 64"),
    "a wild rate": (of_rate(900_000), "samples per second; known are 1,000 to 768,000"),
    "a bomb": (claiming(2**36 - 1), "cannot read the recording: Internal psf_fseek"),
    "cut": (stored(noise(40_000), kind="FLAC", subtype="PCM_16")[:30_000], ""),
}


@pytest.mark.promise("M198")
@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_heard_fails_alone(name):
    """With the reason; nothing is allocated for what a header claims."""
    data, reason = BROKEN[name]
    good = noise(500)
    for declared in ({}, {"normalize": True}):
        waves, encoded = encode([stored(good), data, stored(good)], max_seconds=7_200.0, **declared)
        assert list(encoded.failures) == [1]
        assert reason in encoded.failures[1].text
        assert len(waves[0]) == len(waves[2]) == 500


@pytest.mark.promise("M198")
def test_samples_beyond_float32_fail_alone():
    """Where normalizing them overflows."""
    _, encoded = encode([stored(np.array([3e38, -3e38, 3e38], np.float32)), stored(noise(9))], normalize=True)
    assert list(encoded.failures) == [0]


@pytest.mark.promise("M197")
def test_a_long_file_is_decoded_block_by_block(monkeypatch):
    monkeypatch.setattr(encode_audio, "_BLOCK_SAMPLES", 64)
    wave = noise(1_001)
    (found,), _ = encode([stored(np.stack((wave, wave), axis=1))])
    assert np.array_equal(found, wave)


def test_a_column_of_another_type_is_refused():
    with pytest.raises(InputSchemaError, match="column 'a' has type int64; it must hold binary"):
        encode([1])
    with pytest.raises(InputSchemaError, match="column 'a' has type binary; it must hold strings"):
        encode([b"x"], read="uri")


class Loudness(torch.nn.Module):
    """The mean square of each recording, by its mask."""

    def forward(self, values_BT, mask_BT):
        assert values_BT.dtype == torch.float32
        assert mask_BT.dtype == torch.bool
        assert not values_BT[~mask_BT].any()
        return (values_BT.double() ** 2).sum(dim=1) / mask_BT.sum(dim=1)


def make_loudness(weights, device):
    return Loudness()


@pytest.mark.promise("M206")
def test_recordings_of_all_lengths_are_predicted_in_batches_of_similar_ones():
    task = MlTask(
        name="loudness",
        model=ModelSpec(factory=f"{__name__}:make_loudness"),
        features=[AudioFeature(column="a", sample_rate=8_000, max_seconds=0.2)],
        output=RegressionOutput(),
        max_failed_share=1.0,
    )
    waves = [noise(length, seed) for seed, length in enumerate([1, 700, 1_600, 3_000, 20, 700, 1_599, 16])]
    files = [*map(stored, waves), b"broken", None]
    tally = Tally()
    (found,) = predict_map(0, [pa.record_batch({"a": pa.array(files)})], task, 3, tally=tally)
    wanted = [(wave[:1_600].astype(float) ** 2).mean() for wave in waves]
    rows = found.to_pylist()
    assert [row["predicted_value"] for row in rows[:8]] == pytest.approx(wanted)
    assert [row["prediction_error"] is None for row in rows] == [True] * 8 + [False] * 2
    assert (tally.truncated, tally.batch_sizes) == (1, {"3": 2, "2": 1})


@pytest.mark.promise("M199")
@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"sample_rate": 16}, "AudioFeature.sample_rate=16 must lie between 1000 and 768000"),
        ({"max_seconds": 0.0}, "AudioFeature.max_seconds=0.0 must be above 0"),
        ({"fill": 31.0}, r"AudioFeature.fill=31.0 must be above 0 and at most max_seconds=30.0"),
        ({"folder": "/data"}, "AudioFeature.folder is set, but the column holds the files themselves; set read: uri"),
        ({"folder": "data", "read": "uri"}, "AudioFeature.folder='data' depends on the directory"),
        ({"folder": "s3://key:word@bucket", "read": "uri"}, r"folder='s3://\*\*\*@bucket' contains a password"),
        ({"argument": "input_values"}, "set mask_argument"),
    ],
)
def test_declarations_that_cannot_be_meant(declared, message):
    with pytest.raises(TaskError, match=message):
        AudioFeature(column="a", **declared)


@pytest.mark.promise("M199")
def test_a_rate_is_needed_where_no_folder_says_it():
    with pytest.raises(TaskError, match="MlTask 'a': the audio feature of 'a' names no sample_rate.*such as 16000"):
        MlTask(name="a", model=ModelSpec(factory="a:b"), features=[AudioFeature(column="a")], output=RegressionOutput())


@pytest.mark.promise("M199")
def test_a_missing_package_is_named_with_its_command(monkeypatch):
    feature = AudioFeature(column="a", sample_rate=8_000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ModelError, match=r"pip install 'sparktorch-assets\[audio\]' on every worker"):
        make_encoder(feature, ".")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(TaskError, match=r"AudioFeature.column='a'.*pip install 'sparktorch-assets\[audio\]'"):
        AudioFeature(column="a", sample_rate=8_000)
