"""Recordings for tests, as files."""

import io

import numpy as np
import soundfile


def sine(hertz, seconds, rate, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def stored(wave, rate=8_000, kind="WAV", subtype="FLOAT"):
    """The bytes of a file with this waveform (T,) or (T, channels)."""
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=kind, subtype=subtype)
    return out.getvalue()
