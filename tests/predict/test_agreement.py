"""Another precision against fp32: every run is compared, over its first rows, and a refused one gives no answer."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.model.cache import _weight_bytes
from sparktorch_assets.predict.model.precision import COMPARED_ROWS, Comparison
from sparktorch_assets.predict.outputs.classification import ClassificationDecoder
from sparktorch_assets.predict.outputs.decoder import Forward
from sparktorch_assets.predict.partition import predict_keyed, predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import BatchPolicy, ClassificationOutput, Execution, MlTask, ModelSpec, NumericFeature


class DisagreesAbove(torch.nn.Module):
    """In fp32 the class is 1; in another precision it is 0 for rows above `x = 5`, and no number above `x = 50`."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x_BF):
        exact = self.one.dtype == torch.float32
        x_B = x_BF[:, 0].float()
        second_B = torch.where((x_B > 5) & (not exact), -1.0, 1.0)
        second_B = torch.where((x_B > 50) & (not exact), torch.nan, second_B)
        return torch.stack([torch.zeros_like(second_B), second_B], dim=1)


def disagrees_above(_weights, _device):
    return DisagreesAbove()


def task(floor=0.9, **changes):
    made = MlTask(
        name="t",
        input="table",
        model=ModelSpec(factory=f"{__name__}:disagrees_above"),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
        execution=Execution(precision="bf16", min_agreement=floor),
    )
    return dataclasses.replace(made, **changes)


def rows(*groups):
    return pa.record_batch({"x": np.concatenate([np.full(count, value, dtype=np.float32) for value, count in groups])})


def run(given, floor=0.9, tally=None, **changes):
    return [
        row
        for part in predict_map(0, [given], task(floor, **changes), model_loader=ModelLoader("."), tally=tally)
        for row in part.to_pylist()
    ]


@pytest.mark.promise("M49")
@pytest.mark.parametrize("batch_size", [None, 1, 7, 1000])
def test_every_run_in_a_process_is_compared(batch_size):
    """The model is up, and its first run agreed: a later run over rows on which it does not is refused all the same."""
    policy = BatchPolicy(batch_size=batch_size)
    for value in (1.0, 9.0, 1.0, 9.0):
        tally = Tally()
        if value > 5:
            with pytest.raises(ModelError, match=r"0.0000 of the first \d+ rows .* below min_agreement=0.9"):
                run(rows((value, 400)), batch=policy)
        else:
            assert len(run(rows((value, 400)), tally=tally, batch=policy)) == 400
            assert tally.agreement == 1.0


@pytest.mark.promise("M49")
@given(st.lists(st.booleans(), min_size=1, max_size=300), st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.integers(1, 300))
def test_a_run_is_judged_by_all_of_its_first_rows(agree, floor, batch_size):
    """However it is cut into batches, and where it has fewer rows than are compared: the verdict is the plain share's."""
    batch = pa.record_batch({"x": np.where(agree, 1.0, 9.0).astype(np.float32)})
    first = agree[:COMPARED_ROWS]
    tally = Tally()
    if np.mean(first) < floor:
        with pytest.raises(ModelError, match="min_agreement"):
            run(batch, floor, batch=BatchPolicy(batch_size=batch_size))
    else:
        assert len(run(batch, floor, tally, batch=BatchPolicy(batch_size=batch_size))) == len(agree)
        assert tally.agreement == pytest.approx(np.mean(first))


@pytest.mark.promise("M50")
@pytest.mark.parametrize("layout", [[(1.0, 10), (9.0, 40)], [(1.0, 200), (9.0, 56)], [(9.0, 30), (1.0, 5)]])
def test_a_refused_run_gives_no_row(layout):
    """Answers wait for the verdict: no shard of a refused run is ever finished, to be taken for good by the next."""
    batch = rows(*layout)
    chosen = task(batch=BatchPolicy(batch_size=5))
    keyed = [(number, batch.slice(number * 5, 5)) for number in range(batch.num_rows // 5)]
    seen = []
    found = predict_keyed(
        keyed,
        predictor=LocalPredictor(chosen, model_loader=ModelLoader(".")),
        schema=output_schema(chosen, batch.schema),
        tally_of=lambda _: Tally(),
    )
    with pytest.raises(ModelError, match="min_agreement"):
        seen += [key for key, _ in found]
    assert seen == []


def test_answers_do_not_wait_for_ever_where_hardly_a_row_can_be_compared():
    """What is held until the verdict has a bound, however few rows get through."""
    many = 40_000
    x = np.full(many, 13.0, dtype=np.float32)
    x[::200] = 1.0
    chosen = task(
        model=ModelSpec(
            factory="sparktorch_assets.testing:build", arguments={"network": "FailsOnValue", "value": 13.0}
        ),
        batch=BatchPolicy(batch_size=10, window_bytes=400),
        features=[NumericFeature(columns=["x"])],
    )
    came = []

    def batches():
        for start in range(0, many, 10):
            came.append(start)
            yield pa.record_batch({"x": x[start : start + 10]})

    found = predict_map(0, batches(), chosen, model_loader=ModelLoader("."))
    next(found)
    assert len(came) < many / 20
    found.close()


def test_after_a_refusal_nothing_goes_on():
    """Not with the same model object by hand either, on rows that agree."""
    model = ModelLoader(".").bring_up_model(task(), gpu=False)
    assert model.predict_batch(rows((1.0, 3))).num_rows == 3
    for batch in (rows((9.0, 40)), rows((1.0, 10)), rows((1.0, 1))):
        with pytest.raises(ModelError, match="min_agreement"):
            model.predict_batch(batch)


def test_interleaved_runs_are_judged_each_by_their_own_rows():
    """Two runs over one model, in turns: the comparison of one says nothing of the other."""
    policy = BatchPolicy(batch_size=4)
    good = predict_map(0, [rows((1.0, 4)) for _ in range(200)], task(batch=policy), model_loader=ModelLoader("."))
    next(good)
    with pytest.raises(ModelError, match="min_agreement"):
        run(rows((9.0, 400)), batch=policy)
    assert sum(batch.num_rows for batch in good) == 199 * 4


def test_rows_without_a_number_count_where_fp32_has_one():
    """fp16 that overflows is no agreement; and the largest difference is a number even so."""
    tally = Tally()
    run(rows((1.0, 60), (99.0, 40)), 0.5, tally)
    assert (tally.agreement, tally.confidence_difference) == (0.6, 0.0)
    with pytest.raises(ModelError, match="0.6000 of the first 100 rows"):
        run(rows((1.0, 60), (99.0, 40)), 0.7)


def test_rows_for_which_neither_has_a_number_do_not_count():
    comparison = Comparison()
    nothing = Forward(result=torch.full((3, 2), torch.nan), computed=3, rows=3, mask_BT=None)
    decoder = ClassificationDecoder(ClassificationOutput(), ["a", "b"], "task 't'")
    comparison.add(*decoder.compare(nothing, nothing))
    assert (comparison.rows, comparison.fails(1.0, now=True)) == (0, False)


def test_runs_of_several_tasks_over_one_model_do_not_mix(table):
    """Chained tasks that share a model: each keeps its own names, extras and batch size."""
    first = MlTask(
        name="first",
        input="table",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
        output=ClassificationOutput(scores=True),
        batch=BatchPolicy(batch_size=4),
    )
    second = dataclasses.replace(
        first, name="second", output_prefix="b_", output=ClassificationOutput(), batch=BatchPolicy(batch_size=6)
    )
    tallies = Tally(), Tally()
    chained = predict_map(
        0,
        predict_map(0, [table(8, 8 * i) for i in range(3)], first, model_loader=ModelLoader("."), tally=tallies[0]),
        second,
        model_loader=ModelLoader("."),
        tally=tallies[1],
    )
    found = pa.Table.from_batches(list(chained))
    assert found.column_names == [
        "id", "x", "predicted_class", "confidence", "prediction_error", "scores",
        "b_predicted_class", "b_confidence", "b_prediction_error",
    ]  # fmt: skip
    assert found["predicted_class"].to_pylist() == found["b_predicted_class"].to_pylist() == ["1", "0"] * 12
    assert found["scores"].null_count == 0
    assert [tally.batch_sizes for tally in tallies] == [{"4": 6}, {"6": 4}]


@pytest.mark.promise("M51")
def test_the_fp32_network_is_weighed_too():
    """It stays up for the runs to come."""
    model = ModelLoader(".").bring_up_model(task(), gpu=False)
    assert _weight_bytes(model) == 4 + 2
