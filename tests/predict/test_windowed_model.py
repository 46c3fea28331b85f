"""The contract between the pipeline and a model: the order of the calls, and the threads that make them."""

import threading

import pyarrow as pa
import pytest

from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.pipeline import Pipeline
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.predict.windowed_model import WindowedModel
from sparktorch_assets.tally import Tally


class Recorded:
    """A model that writes down what it is asked, and in which thread; its windows have two rows."""

    window_rows = 2
    columns = ("x",)
    undecided = False

    def __init__(self, model, in_flight):
        self.model, self.in_flight = model, in_flight
        self.calls, self.threads = [], {}

    def note(self, call, window=""):
        self.calls.append(f"{call} {window}".strip())
        self.threads.setdefault(call, set()).add(threading.current_thread())

    def prepare(self, batch, quarantine, tally):
        window = sum(call.startswith("prepare") for call in self.calls)
        self.note("prepare", window)
        return window, self.model.prepare(batch, quarantine, tally)

    def start(self, prepared, quarantine, tally, on_rows):
        window, encoded = prepared
        self.note("start", window)
        return window, self.model.start(encoded, quarantine, tally, on_rows)

    def finish(self, started, tally):
        window, launched = started
        self.note("finish", window)
        return self.model.finish(launched, tally)

    def end(self, tally):
        self.note("end")


def predict_three_windows(echo_task, table, loader, *, in_flight=1, overlaps=False):
    """The recorded model, after predicting six rows, and the predicted classes."""
    predictor = LocalPredictor(echo_task(), 2, model_loader=loader)
    predictor.overlaps = overlaps
    model: WindowedModel = Recorded(predictor.for_run(), in_flight)
    batch, tally = table(6), Tally()
    schema = output_schema(predictor.task, batch.schema)
    pipeline = Pipeline(predictor, model, schema, lambda _: tally, lambda _: None)
    found = pa.Table.from_batches([rows for _, rows in pipeline.run([(None, batch)])])
    return model, found.column("predicted_class").to_pylist()


@pytest.mark.parametrize(
    ("in_flight", "calls"),
    [
        (0, "prepare 0, start 0, finish 0, prepare 1, start 1, finish 1, prepare 2, start 2, finish 2, end"),
        (1, "prepare 0, start 0, prepare 1, start 1, finish 0, prepare 2, start 2, finish 1, end, finish 2"),
        (2, "prepare 0, start 0, prepare 1, start 1, prepare 2, start 2, finish 0, end, finish 1, finish 2"),
    ],
)
def test_windows_are_handled_in_the_documented_order(in_flight, calls, echo_task, table, loader):
    model, classes = predict_three_windows(echo_task, table, loader, in_flight=in_flight)
    assert ", ".join(model.calls) == calls
    assert classes == ["1", "0"] * 3
    if in_flight == 1:
        assert calls in WindowedModel.__doc__


def test_no_window_is_finished_while_the_run_is_undecided(echo_task, table, loader, monkeypatch):
    monkeypatch.setattr(Recorded, "undecided", True)
    model, classes = predict_three_windows(echo_task, table, loader, in_flight=0)
    assert model.calls.index("end") < model.calls.index("finish 0")
    assert classes == ["1", "0"] * 3


def test_one_thread_prepares_and_another_does_the_rest(echo_task, table, loader):
    model, classes = predict_three_windows(echo_task, table, loader, overlaps=True)
    assert classes == ["1", "0"] * 3
    (encoding,), (predicting,) = model.threads.pop("prepare"), set.union(*model.threads.values())
    assert len({encoding, predicting, threading.main_thread()}) == 3
