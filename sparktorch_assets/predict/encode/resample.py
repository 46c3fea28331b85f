"""Resamples waveforms by a band-limited method: each new sample is a weighted sum of the old ones around it, with the
weights of a low-pass filter (a sinc under a Kaiser window).

Method: J. O. Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample/. Window: J. F. Kaiser, 1974.

Shapes: N old samples, M new samples, K weights.
"""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

_CROSSINGS = 64
"""Zero crossings of the sinc on each side. More make the transition from passed to removed frequencies narrower."""
_BETA = 10.06
"""Kaiser's beta for 100 dB: 0.1102 * (100 - 8.7)."""
_ROLLOFF = 0.95
"""Where the filter begins to fall is below, where it has fallen is at the lower of the two Nyquist frequencies: with 64
crossings, Kaiser's formula gives a transition of 0.1 of it, around 0.95."""

_STEPS = 1024
"""Number of tabulated heights of the filter per crossing."""


def resample(x_N: npt.NDArray[np.float32], old_rate: int, new_rate: int) -> npt.NDArray[np.float32]:
    """The waveform at another rate, with M = ceil(N * new_rate / old_rate) samples. Frequencies that the lower of the two
    rates cannot hold are removed by 100 dB; those below 0.9 of its Nyquist frequency stay as they are.

    Args:
        x_N: the samples; silence is assumed before and after them.
        old_rate: their number per second.
        new_rate: the number per second of the result.
    """
    if old_rate == new_rate or not len(x_N):
        return x_N
    common = math.gcd(old_rate, new_rate)
    up, down = new_rate // common, old_rate // common
    half = half_width(old_rate, new_rate)
    made = -(-len(x_N) * up // down)
    padded = np.concatenate((np.zeros(half, np.float32), x_N, np.zeros(half + down + 1, np.float32)))
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    y_M = np.empty(made, dtype=np.float32)
    cutoff = _ROLLOFF * min(1.0, up / down)
    # The new sample i lies at i * down / up, so the samples i, i + up, i + 2 * up ... lie equally far behind an old one,
    # and have the same weights. From 3 to 2 (up 2, down 3): the samples 0, 2, 4 ... lie on the old samples 0, 3, 6 ...,
    # and 1, 3, 5 ... halfway behind 1, 4, 7 ...
    for phase in range(min(up, made)):
        first, behind = divmod(phase * down, up)
        distance_K = np.arange(-half, half + 1) - behind / up
        weights_K = _low_pass(distance_K, cutoff).astype(np.float32)
        count = -(-(made - phase) // up)
        # Neither copies the overlapping rows nor starts threads, as a product of matrices would.
        y_M[phase::up] = np.einsum("mk,k->m", around[first::down][:count], weights_K)
    return y_M


def half_width(old_rate: int, new_rate: int) -> int:
    """Number of old samples on each side that a new sample depends on."""
    return math.ceil(_CROSSINGS * max(1.0, old_rate / new_rate) / _ROLLOFF)


def _low_pass(distance_K: npt.NDArray[np.floating], cutoff: float) -> npt.NDArray[np.float64]:
    """The filter's weights for samples at these distances, in old samples; `cutoff` is relative to their Nyquist
    frequency."""
    places, heights = _windowed_sinc()
    weights_K = np.interp(np.abs(distance_K) * cutoff, places, heights)
    return np.asarray(weights_K / weights_K.sum())  # a constant stays exactly what it is


@cache
def _windowed_sinc() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Places, in crossings, and the filter's height there; between them, straight lines are off by less than 1e-6."""
    places = np.arange(_CROSSINGS * _STEPS + 1) / _STEPS
    window = np.i0(_BETA * np.sqrt(1 - (places / _CROSSINGS) ** 2)) / np.i0(_BETA)
    return places, np.sinc(places) * window
