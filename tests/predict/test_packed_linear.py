"""Linear layers in oneDNN's layout: the same numbers, and only where nothing else can notice."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparktorch_assets.predict.model import packed_linear
from sparktorch_assets.predict.model.packed_linear import PackedLinear, pack_linear_layers
from sparktorch_assets.tasks import Execution

CPU = torch.device("cpu")


def packed(module: nn.Module, execution: Execution | None = None, device: torch.device = CPU) -> nn.Module:
    pack_linear_layers(module, execution or Execution(), device)
    return module


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(0, 7), min_size=0, max_size=3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
@torch.inference_mode()
def test_the_product_is_that_of_a_plain_layer(shape: list[int], inputs: int, outputs: int, bias: bool, seed: int):
    """For rows of any shape, none at all and a single vector included."""
    torch.manual_seed(seed)
    plain = nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(*shape, inputs)
    layer = PackedLinear(plain, 0.0)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_inputs_that_are_laid_out_otherwise_are_multiplied_as_well():
    plain = nn.Linear(5, 3)
    layer, x = PackedLinear(plain, 0.0), torch.randn(5, 4, 2).permute(2, 1, 0)
    assert not x.is_contiguous()
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_nan_stays_in_its_row():
    x = torch.randn(4, 8)
    x[1, 3] = torch.nan
    layer = PackedLinear(nn.Linear(8, 5), 0.0)
    assert layer(x).isnan().any(dim=1).tolist() == [False, True, False, False]


@torch.inference_mode()
def test_code_is_generated_for_batch_sizes_that_come_often_enough(monkeypatch: pytest.MonkeyPatch):
    """A batch that is divided to find a failing row has many sizes, each of them a few times."""
    called, linear = [], packed_linear.functional.linear

    def plain(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        called.append(len(x))
        return linear(x, *parameters)

    monkeypatch.setattr(packed_linear.functional, "linear", plain)
    layer = PackedLinear(nn.Linear(8, 5), 9.0)
    for rows in (3, 4, 3, 3, 4, 3, 4, 10):
        layer(torch.randn(rows, 8))
    assert called == [3, 4, 3, 4]


def test_large_networks_pay_at_once_and_small_ones_late():
    """12 layers of 384 x 1536 share one piece of code for a batch of 2,048 rows."""
    large = packed(nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(384, 1536), nn.Linear(1536, 384))]))
    small = packed(nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 1)))
    assert large[0]._break_even < 2_048
    assert small[0]._break_even > 100_000


@torch.inference_mode()
def test_only_so_many_batch_sizes_are_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed_linear, "_KNOWN_ROWS", 2)
    layer = PackedLinear(nn.Linear(2, 2), 100.0)
    for rows in range(1, 10):
        layer(torch.randn(rows, 2))
        assert len(layer._seen) <= 2


class Tied(nn.Module):
    """One layer under two names, whose weights are used directly, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.rest = nn.Sequential(nn.ReLU(), self.first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.first(x)) @ self.first.weight


@torch.inference_mode()
def test_a_layer_in_two_places_is_packed_once_and_keeps_its_parameters():
    net = Tied().eval()
    names, x = list(net.state_dict()), torch.randn(3, 6)
    expected, weight = net(x), net.first.weight
    packed(net)
    assert type(net.first) is PackedLinear
    assert net.rest[1] is net.first
    assert net.first.weight is weight
    assert list(net.state_dict()) == names
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


def test_layers_that_are_more_than_plain_ones_stay():
    hooked, patched, doubled = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2).double()
    hooked.register_forward_hook(lambda _module, _inputs, result: result * 2)
    patched.forward = lambda x: x  # type: ignore[method-assign]
    weighted = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    net = nn.ModuleDict({"a": hooked, "b": patched, "c": doubled, "d": weighted, "e": nn.Bilinear(2, 2, 2)})
    before = {name: type(module) for name, module in net.named_modules()}
    packed(net)
    assert {name: type(module) for name, module in net.named_modules()} == before


def test_attention_and_encoders_of_torch_give_the_same():
    torch.manual_seed(0)
    net = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False
    ).eval()
    other = packed(copy.deepcopy(net))
    x, padded = torch.randn(3, 5, 16), torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 2 + [True] * 3])
    with torch.inference_mode():
        torch.testing.assert_close(
            other(x, src_key_padding_mask=padded), net(x, src_key_padding_mask=padded), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("execution", "device"),
    [
        (Execution(precision="bf16"), CPU),
        (Execution(compile="torch.compile"), CPU),
        (Execution(), torch.device("cuda")),
    ],
)
def test_networks_that_run_otherwise_are_left_alone(execution: Execution, device: torch.device):
    assert type(packed(nn.Sequential(nn.Linear(2, 2)), execution, device)[0]) is nn.Linear


def test_weights_that_would_fill_the_host_are_not_copied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed_linear, "_allowed_bytes", lambda: 15.0)
    assert type(packed(nn.Sequential(nn.Linear(2, 2)))[0]) is nn.Linear
    monkeypatch.setattr(packed_linear, "_allowed_bytes", lambda: 16.0)
    assert type(packed(nn.Sequential(nn.Linear(2, 2)))[0]) is PackedLinear


def test_a_host_gives_each_of_its_slots_an_equal_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed_linear.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    alone = packed_linear._allowed_bytes()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert packed_linear._allowed_bytes() == alone / 4
