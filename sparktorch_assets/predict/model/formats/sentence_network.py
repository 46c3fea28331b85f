"""Networks of sentence-transformers folders with dense layers, which follow the pooling, so that it happens here and not
where the output is decoded.

Shapes: B rows of a batch, T tokens, E components of a vector.
"""

from typing import Any

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.file_bounds import check_safetensors
from sparktorch_assets.tasks.files.folders.dense_layer import DenseLayer
from sparktorch_assets.tasks.files.folders.sentence_modules import SentenceModules


class SentenceNetwork(torch.nn.Module):
    """A network for texts, its pooling, and the layers that follow."""

    def __init__(self, texts: torch.nn.Module, pooling: str, layers: torch.nn.Module) -> None:
        super().__init__()
        self.texts, self.pooling, self.layers = texts, pooling, layers

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        """The vectors (B, E)."""
        tokens_BTE: Any = self.texts(*arguments, **named).last_hidden_state
        if self.pooling == "cls":
            return self.layers(tokens_BTE[:, 0])  # type: ignore[no-any-return]
        mask_BT = named["attention_mask"] if "attention_mask" in named else arguments[1]
        mask_BT1 = mask_BT[:, :, None].bool()
        sums_BE = tokens_BTE.masked_fill(~mask_BT1, 0.0).sum(dim=1)
        return self.layers(sums_BE / mask_BT1.sum(dim=1).clamp_min(1))  # type: ignore[no-any-return]


def with_dense(texts: torch.nn.Module, modules: SentenceModules) -> SentenceNetwork:
    """The network with the folder's dense layers, in fp32.

    Raises:
        ModelError: the weights of a layer cannot be read, or do not fit its settings.
    """
    layers = [module for layer in modules.dense for module in _read(layer)]
    return SentenceNetwork(texts, modules.pooling, torch.nn.Sequential(*layers)).requires_grad_(requires_grad=False)


def _read(layer: DenseLayer) -> tuple[torch.nn.Module, torch.nn.Module]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_safetensors(layer.weights)
    try:
        state = {name.removeprefix("linear."): tensor for name, tensor in load_file(layer.weights).items()}
        sizes = tuple(state["weight"].shape) if "weight" in state else None
        if sizes != (layer.out_features, layer.in_features):  # before a layer of whatever size the settings say is made
            raise ModelError(
                f"{layer.weights} does not hold the weights of a dense layer from {layer.in_features} to {layer.out_features} "
                f"numbers, as its config.json says; copy the whole folder"
            )
        linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias)
        linear.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{layer.weights} does not hold the weights of a dense layer: {error}") from error
    activation: torch.nn.Module = getattr(torch.nn, layer.activation)()
    return linear, activation
