"""What a factory or a loader opens under the models root without saying so is named in the log."""

import dataclasses

import pytest

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature


def opens(weights, _device, names=("a.txt",)):
    for name in names:
        (weights.parent / name).read_text()
    import opened_helper

    return opened_helper.network()


class Opens(ModelLoader):
    """Reads a file of its own accord."""

    def load_module(self, task, device):
        (self.models_root / "b.txt").read_text()
        return super().load_module(task, device)


TASK = MlTask(
    name="t",
    input="i",
    model=ModelSpec(weights="m.bin", factory="test_opened_files:opens", trust_code=True),
    features=[NumericFeature(columns=["x"])],
    labels=["no", "yes"],
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The models lie beside the code, as in a small project."""
    for name in ("m.bin", "a.txt", "b.txt"):
        (tmp_path / name).write_text("1")
    (tmp_path / "opened_helper.py").write_text("import torch\ndef network():\n    return torch.nn.Linear(1, 2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    monkeypatch.delitem(__import__("sys").modules, "opened_helper", raising=False)


@pytest.mark.promise("M13")
@pytest.mark.parametrize("act", ["bring_up_model", "describe"])
@pytest.mark.parametrize(
    ("loader", "files", "named"),
    [
        (ModelLoader, [], ["a.txt"]),
        (ModelLoader, ["a.txt"], []),
        (Opens, [], ["a.txt, b.txt"]),
        (Opens, ["a.txt", "b.txt"], []),
    ],
)
def test_a_file_that_no_digest_knows_is_named(loader, files, named, act, root, caplog):
    """With the line to add; code is not named, for it has a digest of its own."""
    task = dataclasses.replace(TASK, model=dataclasses.replace(TASK.model, files=files))
    getattr(loader(root), act)(task)
    shown = [record.getMessage() for record in caplog.records if "digest does not know" in record.getMessage()]
    assert len(shown) == len(named)
    for message, names in zip(shown, named, strict=True):
        assert f"opens {names} under" in message
        assert message.endswith(f"`files: [{names}]`")
