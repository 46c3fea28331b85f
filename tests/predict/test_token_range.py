"""Token ids that a network has no embedding for cost their row before they reach a GPU."""

import numpy as np
import pytest
import tiny_folders
import torch

from sparktorch_assets.predict.encode.encoded import DenseFeature, RaggedFeature
from sparktorch_assets.predict.model.token_range import TokenRange


def a_text(ids):
    return RaggedFeature(np.array(ids), np.array([0, len(ids)]), np.array([len(ids)]), {})


@pytest.mark.promise("M248")
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_ids_are_checked_against_the_embeddings(family, tmp_path):
    """Of every feature with tokens, wherever it stands among the arguments."""
    network = tiny_folders.write_classifier(tmp_path, family)
    size = network.get_input_embeddings().num_embeddings
    tokens = TokenRange(torch.nn.Sequential(network))
    numbers = DenseFeature((torch.full((1, 2), 1e6),))

    def check(ids):
        features = [numbers, a_text(ids)]
        tokens.check(features, [tensor for one in features for tensor in one.collate(np.arange(1))])

    check([0, size - 1])
    check([])
    for wrong in (size, -1):
        with pytest.raises(IndexError, match=f"token {wrong} is not among the network's {size}"):
            check([1, wrong])


def test_other_networks_are_not_checked():
    """What an integer means to them is their own affair."""
    text = a_text([10**9])
    TokenRange(torch.nn.Embedding(3, 2)).check([text], list(text.collate(np.arange(1))))


class WithItems(torch.nn.Module):
    """A network of transformers next to a larger table of its own."""

    def __init__(self, text):
        super().__init__()
        self.text, self.items = text, torch.nn.Embedding(5000, 2)


@pytest.mark.promise("M248")
def test_what_may_be_looked_up_in_another_table_is_not_refused(tmp_path):
    """Rows that the CPU predicts do not fail on a GPU: the second sequence is not for the network of transformers."""
    tokens = TokenRange(WithItems(tiny_folders.write_classifier(tmp_path, "bert")))

    def check(*sequences):
        features = [a_text(ids) for ids in sequences]
        tokens.check(features, [tensor for one in features for tensor in one.collate(np.arange(1))])

    check([1, 2], [4999])
    check([1, 2], [10**9])  # a time, for instance
    check([4999])
    with pytest.raises(IndexError, match="token 5000 is not among the network's 5000"):
        check([5000])
