"""Networks whose spans and boxes can be told in advance, and a model object that gives both."""

import torch

LABELS = ("O", "B-A", "I-A", "B-B")
POISON, NAN = "!", "?"


class Tagger(torch.nn.Module):
    """The label of a token is its id modulo the number of labels, with a score that grows with the id; `!` as a byte
    makes the batch raise, and `?` gives NaN."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, ids_BT, mask_BT):
        if (ids_BT == ord(POISON) + 1).any():
            raise ValueError("a poisoned row")
        chosen = torch.nn.functional.one_hot(ids_BT % len(LABELS), len(LABELS))
        logits_BTC = chosen * (1 + ids_BT[:, :, None] / 100) * self.one.float()
        logits_BTC = logits_BTC.masked_fill((ids_BT == ord(NAN) + 1)[:, :, None], torch.nan)
        return {"logits": logits_BTC.masked_fill(~mask_BT[:, :, None], torch.inf)}


def tagger(_path, _device):
    return Tagger()


class Finder(torch.nn.Module):
    """Two queries: the whole image that the network sees, of class 0, and its upper left quarter, of class 1. A grey level
    above 0.9 makes the batch raise, and one below 0.1 gives a box with NaN."""

    def __init__(self, extra=1):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1), requires_grad=False)
        self.extra = extra

    def forward(self, x_BCHW):
        level_B = x_BCHW.float().mean(dim=(1, 2, 3))
        if (level_B > 0.9).any():
            raise ValueError("a poisoned row")
        logits = torch.full((len(x_BCHW), 2, 2 + self.extra), -9.0)
        logits[:, 0, 0], logits[:, 1, 1] = 3.0, 5.0
        boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.25, 0.25, 0.5, 0.5]]).repeat(len(x_BCHW), 1, 1)
        boxes[level_B < 0.1, 1, 0] = torch.nan
        return {"logits": logits * self.one.float(), "pred_boxes": boxes}


def finder(_path, _device, **arguments):
    return Finder(**arguments)


HELD = []
"""The values that the model object gives, by row; lists of dicts cannot be an argument of a task."""


class Answers:
    def __init__(self, column):
        self.column = column

    def predict(self, rows):
        for row, value in zip(rows, HELD, strict=True):
            yield row | {self.column: value}


def answers(_path, _device, column):
    return Answers(column)
