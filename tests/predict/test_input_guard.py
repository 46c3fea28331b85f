"""A network that changes its arguments in place gives the same answers as one that does not."""

import pyarrow as pa
import pytest
import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.input_guard import InputGuard
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import BatchPolicy, CustomFeature, Execution, MlTask, ModelSpec, NumericFeature

ROWS = pa.record_batch({"x": [row / 4 for row in range(64)]})


class Shifts(torch.nn.Module):
    """Shifts its input, in place or not; raises for one value, or where a batch has too many rows."""

    def __init__(self, *, in_place, poison=None, most=64):
        super().__init__()
        self.in_place, self.poison, self.most = in_place, poison, most
        self.scale = torch.nn.Linear(1, 1)

    def forward(self, x):
        if self.in_place == "numpy":
            shifted = x.detach().numpy() if x.dtype == torch.float32 else x
            shifted -= 10
        elif self.in_place:
            x -= 10
        else:
            x = x - 10
        if self.poison is not None and bool((x == self.poison - 10).any()):
            raise ValueError("poison")
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return torch.cat([-x, x], dim=1) + 0 * self.scale(x)


def shifts(_weights, _device, **arguments):
    torch.manual_seed(0)
    return Shifts(**arguments)


def predictions(tmp_path, arguments, **changes):
    task = MlTask(
        name="t",
        input="i",
        model=ModelSpec(factory="test_input_guard:shifts", arguments=arguments),
        features=[NumericFeature(columns=["x"])],
        labels=["small", "big"],
        max_failed_share=1.0,
        **changes,
    )
    (found,) = predict_map(0, [ROWS], task, model_loader=ModelLoader(tmp_path))
    return found.to_pylist()


@pytest.mark.parametrize("in_place", [True, "numpy"])
@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ({}, {}),
        ({"poison": 8.0}, {}),
        ({"poison": 8.0}, {"batch": BatchPolicy(batch_size=64)}),
        ({"poison": 8.0}, {"batch": BatchPolicy(batch_size=16)}),
        ({"most": 16}, {}),
        ({}, {"execution": Execution(precision="int8-dynamic", min_agreement=1.0)}),
        ({}, {"execution": Execution(precision="bf16", min_agreement=0.9)}),
    ],
    ids=["clean", "poison", "poison, pinned", "poison, later batch", "out of memory", "int8", "bf16"],
)
def test_answers_do_not_depend_on_how_often_a_batch_is_tried(in_place, arguments, changes, tmp_path):
    plain = predictions(tmp_path, {"in_place": False} | arguments, **changes)
    assert predictions(tmp_path, {"in_place": in_place} | arguments, **changes) == plain
    assert sum(row["prediction_error"] is not None for row in plain) == ("poison" in arguments)


def window():
    return torch.arange(6.0)[:, None][1:4]


def test_a_network_that_was_seen_to_leave_its_arguments_alone_gets_views():
    guard, view = InputGuard("task 't'"), window()
    for expected in (False, True, True):
        with guard.arguments([view]) as (given,):
            assert (given.data_ptr() == view.data_ptr()) is expected


@pytest.mark.parametrize("mode", [True, False])
def test_a_network_that_changes_its_arguments_later_gets_copies_from_then_on(mode):
    guard, view = InputGuard("task 't'"), window()
    with torch.inference_mode(mode=mode):
        with guard.arguments([view]):
            pass
        with guard.arguments([view]) as (given,):
            given.add_(1)
        with guard.arguments([view]) as (given,):
            assert given.data_ptr() != view.data_ptr()


def fails(guard, view, *, changing):
    with guard.arguments([view]) as (given,):
        if changing:
            given.add_(1)
        raise ValueError("poison")


@pytest.mark.parametrize("mode", [True, False])
def test_rows_that_are_lost_are_an_error_and_never_tried_again(mode):
    guard, view = InputGuard("task 't'"), window()
    with torch.inference_mode(mode=mode):
        with guard.arguments([view]):
            pass
        with pytest.raises(ModelError, match="in place in some batches.*ValueError: poison.*Change copies"):
            fails(guard, view, changing=True)
        with pytest.raises(ValueError, match="poison"):
            fails(guard, window(), changing=False)


def test_tensors_of_inference_mode_keep_no_count_and_are_copied():
    guard = InputGuard("task 't'")
    with torch.inference_mode():
        view = window()
        for _ in range(3):
            with guard.arguments([view]) as (given,):
                assert given.data_ptr() != view.data_ptr()
                given.add_(1)
    assert view.flatten().tolist() == [1, 2, 3]


def projects():
    """An encoder with weights of its own."""
    layer = torch.nn.Linear(1, 1)
    return lambda batch: torch.from_numpy(
        layer(torch.tensor(batch.column(0).to_pylist(), dtype=torch.float32)[:, None]).numpy()
    )


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_an_encoder_with_weights_records_no_gradients_whatever_the_callers_mode(mode, tmp_path):
    task = MlTask(
        name="t",
        input="i",
        model=ModelSpec(factory="test_input_guard:shifts", arguments={"in_place": True}),
        features=[CustomFeature(columns=["x"], encoder="test_input_guard:projects")],
        labels=["small", "big"],
    )
    with mode():
        (found,) = predict_map(0, [ROWS], task, model_loader=ModelLoader(tmp_path))
    assert found.column("prediction_error").null_count == len(found)
