"""Damages files of local tables: parts of predictions, files of an input, weights."""

import random
from pathlib import Path

from sparktorch_assets.lake.table import Table

_MAGIC_BYTES = 4
_TAIL_BYTES = 8


def live_files(table: str) -> list[Path]:
    """The files that the table's latest version lists.

    Args:
        table: a local path.
    """
    return [Path(file.uri) for file in Table(table).files]


def flip_bytes(path: Path | str, *, seed: int, count: int = 1) -> None:
    """Change bytes of a file in place, as a failing disk does; its size stays. The footer of a Parquet file is spared,
    so that the pages are what is damaged.

    Args:
        path: a local file.
        seed: decides which bytes change.
        count: how many do.
    """
    content = bytearray(Path(path).read_bytes())
    first, end = 0, len(content)
    if content[:_MAGIC_BYTES] == content[-_MAGIC_BYTES:] == b"PAR1":
        footer_bytes = int.from_bytes(content[-_TAIL_BYTES:-_MAGIC_BYTES], "little")
        first, end = _MAGIC_BYTES, len(content) - _TAIL_BYTES - footer_bytes
    for place in random.Random(seed).sample(range(first, end), count):  # noqa: S311  (nothing secret)
        content[place] ^= 0xFF
    Path(path).write_bytes(content)


def cut_short(path: Path | str, *, keep: float) -> None:
    """Cut a file, as an incomplete copy does.

    Args:
        path: a local file.
        keep: the share of its bytes that stays, from 0 to 1.
    """
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * keep)])
