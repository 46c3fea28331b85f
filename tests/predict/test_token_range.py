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
