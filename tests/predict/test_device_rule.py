"""One device for a run, though both the slots and the model loader name one; and what is reported is what computed."""

import itertools

import pyarrow as pa
import pytest

from sparktorch_assets.errors import DeviceError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model import device
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import SlotPolicy
from sparktorch_assets.tasks.slot_policy import settle_device

POLICIES = ("auto", "cpu", "cuda")


@pytest.mark.promise("M64")
@pytest.mark.parametrize(("slots", "loader"), list(itertools.product((None, *POLICIES), POLICIES)))
def test_auto_yields_and_a_contradiction_is_refused(slots, loader):
    policy = None if slots is None else SlotPolicy(device=slots, models_per_gpu=3, slots=7)
    named = {slots, loader} - {None, "auto"}
    if len(named) == 2:
        with pytest.raises(TaskError, match=f"SlotPolicy.device='{slots}', but ModelLoader.device='{loader}'"):
            settle_device(policy, loader)
        return
    found = settle_device(policy, loader)
    assert found.device == (named.pop() if named else "auto")
    if policy is not None:
        assert (found.models_per_gpu, found.slots) == (3, 7)


def test_a_device_that_there_is_not_is_refused_by_the_loader():
    with pytest.raises(TaskError, match="ModelLoader.device='gpu'; choose auto, cpu or cuda"):
        ModelLoader(device="gpu")


class NoSession:
    """Fails the test when a call gets as far as to use it."""

    isStreaming = False  # noqa: N815  (Spark's name)

    def __getattr__(self, name):
        raise AssertionError(name)


CALLS = {
    "score_table": lambda task, **given: score_table(NoSession(), "in", task, output_table="out", **given),
    "score_dataframe": lambda task, **given: score_dataframe(
        NoSession(), NoSession(), task, output_table="out", **given
    ),
    "spark_ml_predict": lambda task, **given: spark_ml_predict(NoSession(), NoSession(), task, **given),
    "predict_map": lambda task, **given: next(predict_map(0, [{"x": 1.0}], task, **given)),
}


@pytest.mark.promise("M64")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("slots", "loader"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_every_call_refuses_a_contradiction_before_it_does_anything(call, slots, loader, echo_task, tmp_path):
    given = {"slots": SlotPolicy(device=slots, slots=4), "model_loader": ModelLoader(tmp_path, device=loader)}
    with pytest.raises(TaskError, match="Give one of them, and leave the other at 'auto'"):
        CALLS[call](echo_task(), **given)


@pytest.fixture
def host_with_gpu(monkeypatch, tmp_path):
    """A host on which a GPU is seen, as far as choosing a device goes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(device, "gpus_visible", lambda: 1)


class Stubborn(ModelLoader):
    """Computes on the CPU, whatever it is told."""

    def bring_up_model(self, ml_task, gpu=True, gpu_device=0, batch_size=1024):
        return super().bring_up_model(ml_task, gpu=False)


def test_what_is_reported_is_what_computed(host_with_gpu, echo_task, tmp_path):
    batch = pa.record_batch({"x": [1.0, -1.0]})
    for given in (
        {"model_loader": ModelLoader(tmp_path, device="cpu"), "slots": SlotPolicy(slots=4)},
        {"model_loader": ModelLoader(tmp_path), "slots": SlotPolicy(device="cpu")},
        {"model_loader": Stubborn(tmp_path)},
    ):
        tally = Tally()
        list(predict_map(0, [batch], echo_task(), tally=tally, **given))
        assert tally.devices == {"cpu": 2}


def test_a_gpu_that_is_asked_for_is_never_silently_the_cpu(monkeypatch, echo_task, tmp_path):
    """Whichever of the two asks."""
    monkeypatch.setattr(device, "gpus_visible", lambda: 0)
    for given in (
        {"model_loader": ModelLoader(tmp_path, device="cuda"), "slots": SlotPolicy()},
        {"model_loader": ModelLoader(tmp_path), "slots": SlotPolicy(device="cuda")},
        {"model_loader": ModelLoader(tmp_path), "slots": SlotPolicy(gpus_per_worker=2)},
    ):
        with pytest.raises(DeviceError, match="the device policy asks for a GPU"):
            list(predict_map(0, [pa.record_batch({"x": [1.0]})], echo_task(), **given))
