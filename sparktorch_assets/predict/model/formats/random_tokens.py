"""Draws tokens at random so that a row's random numbers do not depend on its batch.

A generator that all rows of a batch share would give a row other numbers in each batch. Here they are hashes of the
seed, the row's prompt, the step and the token. Of scores to which independent Gumbel numbers are added, the largest is a
draw from their softmax (E. J. Gumbel 1954; Maddison, Tarlow, Minka 2014), so that the greedy search does the rest.

Shapes: B rows of a batch, T tokens, V vocabulary.
"""

import torch

_GOLDEN = -7046029254386353131
"""2 ** 64 divided by the golden ratio, as a signed number: the step of SplitMix64 (Steele, Lea, Flood 2014)."""
_MIX = (30, -4658895280553007687), (27, -7723592293110705685)
"""The shifts and factors of its mixing function."""
_BITS = 52
"""The bits of a random number; a double holds it exactly, and half of its last bit as well."""


class RandomTokens:
    """Adds to each score a number of its own, so that the token with the largest sum is drawn at random.

    Args:
        rows_B: a hash per row, int64.
        begin: number of tokens before the first step.
    """

    def __init__(self, rows_B: torch.Tensor, begin: int) -> None:
        self._rows_B, self._begin = rows_B, begin

    def __call__(self, input_ids_BT: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        """The scores with their random numbers, in double precision."""
        steps_B = mixed(self._rows_B + _steps(input_ids_BT.shape[1] - self._begin))
        tokens_V = torch.arange(scores_BV.shape[1], device=scores_BV.device)
        bits_BV = _shifted(mixed(steps_B[:, None] ^ mixed(tokens_V * _GOLDEN)[None, :]), 64 - _BITS)
        uniform_BV = (bits_BV.double() + 0.5) * 2.0**-_BITS
        return scores_BV.double() - (-uniform_BV.log()).log()


def prompt_hash(ids_BT: torch.Tensor, mask_BT: torch.Tensor, seed: int) -> torch.Tensor:
    """A hash of each row's tokens and the seed, int64 (B,), wherever the row is padded."""
    places_BT = (mask_BT.long().cumsum(dim=1)) * mask_BT
    terms_BT = mixed(mixed(ids_BT + _steps(seed)) + places_BT * _GOLDEN)
    return mixed((terms_BT * mask_BT).sum(dim=1) + mixed(mask_BT.sum(dim=1) + 1))


def mixed(numbers: torch.Tensor) -> torch.Tensor:
    """SplitMix64's mixing function; products wrap around, as int64 does."""
    for shift, factor in _MIX:
        numbers = (numbers ^ _shifted(numbers, shift)) * factor
    return numbers ^ _shifted(numbers, 31)


def _steps(number: int) -> int:
    """The number times `_GOLDEN`, wrapped around as int64 does."""
    return (number * _GOLDEN + (1 << 63)) % (1 << 64) - (1 << 63)


def _shifted(numbers: torch.Tensor, places: int) -> torch.Tensor:
    """Shifted to the right, with zeros coming in: the operator brings in the sign."""
    return (numbers >> places) & ((1 << (64 - places)) - 1)
