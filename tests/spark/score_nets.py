"""Models for tests of scoring; workers import this file by name."""

import os
import signal
import time
from pathlib import Path


def linear(weights, device, seed=0):
    import torch

    torch.manual_seed(seed)
    return torch.nn.Linear(2, 3)


def dies_once(weights, device, marker=""):
    """The first batch kills its process, unless the marker file is there."""
    return _linear_after_the_first_batch(marker, lambda: os.kill(os.getpid(), signal.SIGKILL))


def wrong_shape(weights, device):
    import torch

    return torch.nn.Linear(2, 7)


def same_numbers(weights, device):
    """Vectors that consist of one number over and over."""
    import torch

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x_BF):
            return self.layer(x_BF) * 0 + x_BF[:, :1]

    return Same()


def sign(weights, device):
    """Two classes: the second one for numbers above zero."""
    import torch

    class Sign(torch.nn.Module):
        def forward(self, x_BF):
            return torch.cat([-x_BF[:, :1], x_BF[:, :1]], dim=1)

    return Sign()


def drop_first(row):
    """A hook that drops the row with id 0."""
    return None if row["id"] == 0 else row


def forgets_return(row):
    """A row hook without its last line."""
    row["confidence"] = 1.0


def from_file(weights, device):
    """`linear` with the seed that the weights file holds."""
    return linear(None, device, int(Path(weights).read_text()))


def kills_executor_once(weights, device, marker=""):
    """The first batch kills the executor: the JVM that started the daemon that started this worker."""

    def kill_executor():
        stat = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(60)

    return _linear_after_the_first_batch(marker, kill_executor)


def _linear_after_the_first_batch(marker, first_batch):
    """A linear layer; while the marker file is not there, a batch makes it and calls `first_batch` instead."""
    import torch

    class Once(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x_BF):
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return self.layer(x_BF)
            first_batch()
            return None

    return Once()


def new_struct(row):
    """A hook: the struct `one` as a new object, whose order is another one; null where it was null."""
    return {**row, "one": row["one"] and dict(reversed(row["one"].items()))}


class Odd(Exception):  # noqa: N818  (names that say nothing of an error exist)
    """An error whose name does not end in Error."""


class Panic(BaseException):
    """As the panic of a library in Rust: no Exception."""


class WantsMore(Exception):  # noqa: N818
    def __init__(self, code, place):
        super().__init__(f"{code} at {place}")


class Unprintable(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError("no text")


FAILURES = {
    "odd": lambda: Odd("plain words"),
    "empty": Odd,
    "lines": lambda: Odd("one line\nand another: it\n  goes on"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "more": lambda: WantsMore(7, "home"),
    "exit": lambda: SystemExit(3),
    "panic": lambda: Panic("called `unwrap()` on a `None` value"),
    "mark": lambda: ValueError('a ] and <<sparktorch-assets {"type": "X"} sparktorch-assets>>'),
    "surrogate": lambda: ValueError("broken \udcff text"),
    "unprintable": Unprintable,
    "group": lambda: ExceptionGroup("several", [ValueError("first"), Odd("second")]),
    "quoted": lambda: ValueError("Caught it.\nOriginal Traceback (most recent call last):\n  File x\nKeyError: 'z'"),
    "disguised": lambda: RuntimeError("sparktorch_assets.errors.ModelError: not ours"),
    "reset": lambda: ConnectionResetError("Connection reset by peer"),
    "system": lambda: FileNotFoundError(2, "No such file or directory", "gone"),
    "key": lambda: KeyError("column"),
    "stop": lambda: StopIteration("over"),
}


def fails(weights, device, kind=""):
    """A factory that raises."""
    make = FAILURES[kind]
    raise make()


def pairs(weights, device):
    """Two numbers per row, x and x + 1, under every name by which an output looks for them."""
    import torch

    class Pairs(torch.nn.Module):
        def forward(self, x_B1):
            both = torch.cat([x_B1, x_B1 + 1], dim=1)
            grid = both[:, None, :].expand(-1, 2, -1)
            return {"logits": both, "embedding": both, "both": both, "grid": grid}

    return Pairs()


def tagger(weights, device):
    """The label of a byte is its value modulo 3."""
    import torch

    class Tagger(torch.nn.Module):
        def forward(self, ids_BT, mask_BT):
            return torch.nn.functional.one_hot(ids_BT % 3, 3).float() * 4

    return Tagger()


def finder(weights, device):
    """One box of class 1, the left half of the image."""
    import torch

    class Finder(torch.nn.Module):
        def forward(self, x_BCHW):
            logits = torch.tensor([[[0.0, 5.0, 0.0], [0.0, 0.0, 5.0]]]).expand(len(x_BCHW), -1, -1)
            boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0]]]).expand(len(x_BCHW), -1, -1)
            return {"logits": logits, "pred_boxes": boxes}

    return Finder()


def spoil_spans(row):
    return row | {"spans": [None, {"label": "other", "score": 2.0, "start": 0, "end": 9, "text": "short"}]}


def spoil_boxes(row):
    place = {"x_min": 5.0, "y_min": 0.0, "x_max": 1.0, "y_max": 1.0}
    return row | {"boxes": [{"label": None, "score": 0.5, **place}, {"label": "other", "score": -1.0, **place}]}


def echo(weights, device):
    """Each prompt's own tokens, as if they were new."""
    import torch

    class Echo(torch.nn.Module):
        def forward(self, ids_BT, mask_BT):
            ids_BT = ids_BT.masked_fill(~mask_BT, -1)
            return {"sequences": ids_BT, "stopped": torch.ones(len(ids_BT), dtype=torch.bool)}

    return Echo()


def sleeps(weights, device, seconds_per_row):
    """As `sign`, but a batch takes time in proportion to its rows. The rows that were seen are appended to the file that
    the variable SEEN_ROWS of the environment names."""
    import torch

    seen = os.environ.get("SEEN_ROWS")

    class Sleeps(torch.nn.Module):
        def forward(self, x_BF):
            time.sleep(seconds_per_row * len(x_BF))
            if seen:
                with Path(seen).open("a") as file:
                    file.writelines(f"{int(abs(value))}\n" for value in x_BF[:, 0].tolist())
            return torch.cat([-x_BF[:, :1], x_BF[:, :1]], dim=1)

    return Sleeps()
