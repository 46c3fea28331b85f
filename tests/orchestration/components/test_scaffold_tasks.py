"""`dg scaffold defs sparktorch_assets.MlTaskComponent NAME --model ...`: what is written for a model, and that it loads."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from dagster.components.testing.utils import DefsFolderSandbox
from safetensors.torch import save_file
from tiny_folders import MAX_TOKENS, write_classifier, write_network, write_tokenizer, write_writer
from tiny_onnx import write_linear, write_pixels, write_texts

from sparktorch_assets.orchestration.assets.declared import declaration_of
from sparktorch_assets.orchestration.components.declared import InputTableComponent, MlTaskComponent
from sparktorch_assets.orchestration.components.scaffold.yaml_text import comment, flow
from sparktorch_assets.tasks import (
    ClassificationOutput,
    EmbeddingOutput,
    ImageFeature,
    MlTask,
    NumericFeature,
    RegressionOutput,
    TextFeature,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

TABLE = """\
type: sparktorch_assets.InputTableComponent

attributes:
  source: [data/reviews/*.parquet]
  format: parquet
  columns: {id: long, review: string, title: string, stars: double, photo: binary}
"""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefsFolderSandbox]:
    """A project with an input table `reviews`; the working directory is its root."""
    with create_defs_folder_sandbox() as sandbox:
        table = sandbox.defs_folder_path / "reviews"
        table.mkdir()
        (table / "defs.yaml").write_text(TABLE)
        (sandbox.project_root / "data" / "models").mkdir(parents=True)
        monkeypatch.chdir(sandbox.project_root)
        yield sandbox


def models_root(sandbox: DefsFolderSandbox) -> Path:
    return sandbox.project_root / "data" / "models"


def scaffold(sandbox: DefsFolderSandbox, model: str, **options: str) -> str:
    """The text of what is written for a task `mood`."""
    folder = sandbox.scaffold_component(
        MlTaskComponent, defs_path="mood", scaffold_params={"model": model, "input": "reviews", **options}
    )
    return (folder / "defs.yaml").read_text()


def load(sandbox: DefsFolderSandbox, text: str | None = None) -> tuple[MlTask, MlTask]:
    """The task that the file declares, and the one that its asset was built from, with what the model says."""
    folder = sandbox.defs_folder_path / "mood"
    if text is not None:
        (folder / "defs.yaml").write_text(text)
    with sandbox.load_component_and_build_defs(folder) as (component, definitions):
        assert isinstance(component, MlTaskComponent)
        *_, prediction = definitions.assets or ()
        completed = declaration_of(prediction)  # type: ignore[arg-type]
        assert isinstance(completed, MlTask)
        return component.task, completed


def uncommented(text: str) -> str:
    """The text with every line that stands for a field turned into one."""
    return re.sub(r"^( +)# ((?!description)\w+: .*)$", r"\1\2", text, flags=re.MULTILINE)


@pytest.mark.promise("M220")
def test_a_folders_declaration_is_four_fields_and_comments_on_what_the_folder_says(sandbox: DefsFolderSandbox):
    write_classifier(models_root(sandbox) / "sentiment")
    text = scaffold(sandbox, "data/models/sentiment/")
    assert yaml.safe_load(text)["attributes"] == {
        "input": "reviews",
        "model": {"weights": "sentiment"},
        "features": [{"kind": "text", "column": "review"}],
    }
    assert "# sentiment is a Hugging Face folder: BertForSequenceClassification." in text
    assert "# Other columns of this type: title." in text
    for said in (
        "      # tokenizer: sentiment/tokenizer.json",
        f"      # max_tokens: {MAX_TOKENS}",
        "  # output: {kind: classification}",
        "  # labels: [negative, neutral, positive]",
    ):
        assert f"{said}\n" in text
    task, completed = load(sandbox)
    assert task.features == (TextFeature(column="review"),)
    assert completed.labels == ("negative", "neutral", "positive")


def write_embedding(folder: Path) -> None:
    write_tokenizer(folder)
    write_network(folder, auto=transformers.AutoModel)


def write_pooled(folder: Path) -> None:
    """As sentence-transformers saves it."""
    write_embedding(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))


def write_image(folder: Path) -> None:
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 8, "width": 8},
        "resample": 2,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.2],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def write_audio(folder: Path) -> None:
    layer = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_conv_pos_embeddings": 2}
    convolutions = {"conv_dim": (8,), "conv_kernel": (3,), "conv_stride": (2,), "num_conv_pos_embedding_groups": 2}
    config = transformers.Wav2Vec2Config(hidden_size=8, intermediate_size=8, **layer, **convolutions)
    transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(folder)


FOLDERS = {
    "classes": write_classifier,
    "number": lambda folder: write_classifier(folder, labels=("stars",)),
    "multilabel": lambda folder: write_classifier(folder, problem_type="multi_label_classification"),
    "spans": lambda folder: (write_classifier(folder), _as_token_classifier(folder)),
    "vectors": write_embedding,
    "sentences": write_pooled,
    "text": lambda folder: write_writer(folder, "gpt2"),
    "image": write_image,
    "audio": write_audio,
}


def _as_token_classifier(folder: Path) -> None:
    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    write_network(folder, auto=transformers.AutoModelForTokenClassification, id2label=names)


@pytest.mark.promise("M220")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_every_kind_loads_unchanged_and_its_comments_say_what_holds_without_them(
    sandbox: DefsFolderSandbox, name: str
):
    FOLDERS[name](models_root(sandbox) / "model")
    text = scaffold(sandbox, "model")
    _, completed = load(sandbox)
    assert completed.features[0].columns == ("photo" if name in ("image", "audio") else "review",)
    changed = uncommented(text)
    assert (changed != text) is True, "there is something that the folder says"
    declared, still = load(sandbox, changed)
    assert declared == completed
    assert still == completed


@pytest.mark.promise("M220")
def test_a_bare_encoder_gives_vectors(sandbox: DefsFolderSandbox):
    write_tokenizer(models_root(sandbox) / "distil")
    write_network(models_root(sandbox) / "distil", "distilbert", auto=transformers.AutoModel)
    assert "output: {kind: embedding, length: 16, pooling: mean}" in scaffold(sandbox, "distil", column="title")
    task, _ = load(sandbox)
    assert task.output == EmbeddingOutput(length=16, pooling="mean")
    assert task.features == (TextFeature(column="title"),)


@pytest.mark.promise("M220")
def test_labels_of_strangers_end_no_comment(sandbox: DefsFolderSandbox):
    """Neither does a name in `architectures`; and a label that would be a template is not offered as a line."""
    folder = models_root(sandbox) / "sentiment"
    breaks = ["a\n  cron: '0 0 * * *'", "b\u2028  cron: c", "d\x85  cron: e"]
    write_classifier(folder, labels=breaks)
    settings = json.loads((folder / "config.json").read_text())
    settings["architectures"] = ["X\nattributes: {}\nBertForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(settings))
    text = scaffold(sandbox, "sentiment")
    assert yaml.safe_load(text)["attributes"].keys() == {"input", "model", "features"}
    task, completed = load(sandbox)
    assert task.cron is None
    assert completed.labels == tuple(breaks)
    declared, _ = load(sandbox, uncommented(text))
    assert declared.labels == tuple(breaks)

    settings["id2label"]["0"] = "{{ cycler.__init__.__globals__.os.popen('touch stolen').read() }}"
    (folder / "config.json").write_text(json.dumps(settings))
    shutil.rmtree(sandbox.defs_folder_path / "mood")
    assert "{{" not in scaffold(sandbox, "sentiment")
    load(sandbox)


@pytest.mark.promise("M220")
def test_a_folder_that_names_no_labels_leaves_that_to_do(
    sandbox: DefsFolderSandbox, capsys: pytest.CaptureFixture[str]
):
    folder = models_root(sandbox) / "sentiment"
    write_classifier(folder)
    settings = json.loads((folder / "config.json").read_text())
    del settings["id2label"], settings["label2id"]
    (folder / "config.json").write_text(json.dumps(settings))
    text = scaffold(sandbox, "sentiment")
    assert "# To do: The folder names no labels" in text
    assert "The folder names no labels" in capsys.readouterr().out
    assert "# labels: [LABEL_0, LABEL_1]" in text


@pytest.mark.promise("M220")
def test_of_many_labels_the_first_are_named(sandbox: DefsFolderSandbox):
    write_classifier(models_root(sandbox) / "topics", labels=[f"topic {number}" for number in range(90)])
    text = scaffold(sandbox, "topics")
    assert "# 90 labels: topic 0, topic 1," in text
    assert "topic 11 and 78 more" in text
    assert len(load(sandbox)[1].labels) == 90


@pytest.mark.promise("M221")
@pytest.mark.parametrize("given", ["elsewhere/sentiment.v2", "{root}/elsewhere/sentiment.v2"])
def test_a_model_outside_of_the_models_root_works_and_is_told_where_to_lie(
    sandbox: DefsFolderSandbox, capsys: pytest.CaptureFixture[str], given: str
):
    folder = sandbox.project_root / "elsewhere" / "sentiment.v2"
    write_classifier(folder)
    text = scaffold(sandbox, given.format(root=sandbox.project_root))
    shown = capsys.readouterr().out
    assert f"{folder} lies outside of the models root" in shown
    assert f"copy it to {models_root(sandbox) / 'sentiment.v2'}" in shown
    assert "# To do: " in text
    task, completed = load(sandbox)
    assert task.model.weights == str(folder)
    assert task.model.format == "huggingface"
    assert completed.labels == ("negative", "neutral", "positive")


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(11)))
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x_BF))


@pytest.mark.promise("M221")
def test_a_file_of_safetensors_shows_its_last_tensors(sandbox: DefsFolderSandbox):
    save_file(_Net().state_dict(), models_root(sandbox) / "net.safetensors")
    text = scaffold(sandbox, "net.safetensors")
    last = " ".join(line.strip(" #") for line in text.splitlines())
    assert "layers.9.bias (4,), layers.9.weight (4, 4), layers.10.bias (4,), layers.10.weight (4, 4)" in last
    task, _ = load(sandbox)
    assert task.model.architecture == "torch.nn:Linear"
    assert dict(task.model.arguments) == {"in_features": 4, "out_features": 3}
    assert task.labels == ("0", "1", "2")
    assert task.features == (NumericFeature(columns=["id", "stars"]),)


def write_program(path: Path) -> None:
    torch.export.save(torch.export.export(_Net().eval(), (torch.rand(2, 4),)), path)


def write_torchscript(path: Path) -> None:
    path.with_name("code").mkdir()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


FILES: dict[str, tuple[Any, str]] = {
    "net.pt": (lambda path: torch.save(_Net().state_dict(), path), "state_dict"),
    "net.pth": (
        lambda path: torch.save(_Net().state_dict(), path, _use_new_zipfile_serialization=False),
        "state_dict",
    ),
    "script.pt": (write_torchscript, "torchscript"),
    "script.ts": (write_torchscript, "torchscript"),
    "net.pt2": (write_program, "export"),
}


@pytest.mark.promise("M221")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", FILES)
def test_files_are_declared_without_being_opened_and_programs_are_not_trusted_unasked(
    sandbox: DefsFolderSandbox, name: str
):
    write, kind = FILES[name]
    write(models_root(sandbox) / name)
    text = scaffold(sandbox, name)
    task, _ = load(sandbox)
    assert task.model.format == kind
    assert not task.model.trust_code
    assert ("\n    # trust_code: true\n" in text) == (kind != "state_dict")
    declared, _ = load(sandbox, text.replace("# trust_code", "trust_code"))
    assert declared.model.trust_code == (kind != "state_dict")


@pytest.mark.promise("M221")
def test_no_pickle_is_opened(sandbox: DefsFolderSandbox, tmp_path: Path):
    class Steals:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "stolen",))

    torch.save({"weight": Steals()}, models_root(sandbox) / "net.pt")
    scaffold(sandbox, "net.pt")
    load(sandbox)
    assert not (tmp_path / "stolen").exists()


@pytest.mark.promise("M221")
def test_an_onnx_file_says_what_it_takes(sandbox: DefsFolderSandbox):
    write_linear(models_root(sandbox) / "linear.onnx")
    text = scaffold(sandbox, "linear.onnx")
    assert "# It takes x float32 (batch, 2)." in text
    assert "      # argument: x\n" in text
    task, _ = load(sandbox)
    assert task.labels == ("0", "1", "2")
    assert task.features == (NumericFeature(columns=["id", "stars"]),)


@pytest.mark.promise("M221")
def test_an_onnx_file_for_texts_or_images_gets_such_a_feature(sandbox: DefsFolderSandbox):
    folder = models_root(sandbox) / "exported"
    folder.mkdir()
    write_texts(folder / "texts.onnx")
    assert "To do: There is no tokenizer.json next to the file" in scaffold(sandbox, "exported/texts.onnx")
    assert load(sandbox)[0].features == (TextFeature(column="review"),)
    write_tokenizer(folder)
    shutil.rmtree(sandbox.defs_folder_path / "mood")
    text = scaffold(sandbox, "exported/texts.onnx")
    assert "      # type_ids: true\n" in text
    assert load(sandbox)[0].features == (TextFeature(column="review", tokenizer="exported/tokenizer.json"),)
    shutil.rmtree(sandbox.defs_folder_path / "mood")
    write_pixels(models_root(sandbox) / "pixels.onnx")
    scaffold(sandbox, "pixels.onnx")
    (feature,) = load(sandbox)[0].features
    assert isinstance(feature, ImageFeature)
    assert feature.column == "photo"


@pytest.mark.slow
@pytest.mark.promise("M221")
@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_mlflow_is_declared_by_its_flavor(sandbox: DefsFolderSandbox):
    from mlflow_world import save_doubling, save_pytorch, save_transformers

    write_classifier(sandbox.project_root / "source")
    save_transformers(models_root(sandbox) / "texts", sandbox.project_root / "source")
    save_pytorch(models_root(sandbox) / "network")
    save_doubling(models_root(sandbox) / "doubling")
    expected = {"texts": ("text", False), "network": ("numeric", True), "doubling": (None, True)}
    for name, (kind, asks) in expected.items():
        text = scaffold(sandbox, name)
        task, _ = load(sandbox)
        assert task.model.format == "mlflow"
        assert [feature.kind for feature in task.features] == [kind] * (kind is not None)
        assert ("# trust_code: true" in text) == asks
        shutil.rmtree(sandbox.defs_folder_path / "mood")


@pytest.mark.promise("M221")
@pytest.mark.parametrize("address", ["models:/sentiment@champion", "models:/sentiment/3"])
def test_an_address_is_written_without_a_look(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch, address: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    text = scaffold(sandbox, address)
    assert yaml.safe_load(text)["attributes"] == {"input": "reviews", "model": {"weights": address}, "features": []}
    task = sandbox.defs_folder_path / "mood"
    labelled = text + "  labels: [bad, good]\n"  # otherwise loading asks the server for them
    (task / "defs.yaml").write_text(labelled)
    with sandbox.load_component_and_build_defs(task) as (component, _):
        assert component.task.model.format == "mlflow"


@pytest.mark.promise("M222")
def test_a_column_that_is_not_known_is_a_placeholder_and_said(
    sandbox: DefsFolderSandbox, capsys: pytest.CaptureFixture[str]
):
    write_classifier(models_root(sandbox) / "sentiment")
    text = scaffold(sandbox, "sentiment", input="other/table")
    placeholder = "other/table is none of this project's input tables (these are: reviews), so the column 'text' is a"
    assert placeholder in capsys.readouterr().out
    assert "# To do: " in text
    assert load(sandbox)[0].features == (TextFeature(column="text"),)
    shutil.rmtree(sandbox.defs_folder_path / "mood")
    text = scaffold(sandbox, "sentiment", input="other/table", column="body")
    assert "To do" not in text
    assert load(sandbox)[0].features == (TextFeature(column="body"),)


@pytest.mark.promise("M222")
def test_a_column_of_texts_that_is_asked_for_holds_the_addresses_of_images(sandbox: DefsFolderSandbox):
    write_image(models_root(sandbox) / "shapes")
    scaffold(sandbox, "shapes", column="title")
    assert load(sandbox)[0].features == (ImageFeature(column="title", read="uri"),)


@pytest.mark.promise("M222")
def test_a_table_that_gives_itself_a_name_is_found_by_it(sandbox: DefsFolderSandbox):
    path = sandbox.defs_folder_path / "reviews" / "defs.yaml"
    path.write_text(f"{TABLE}  name: other\n---\n{TABLE}  name: third\n".replace("review: string", "words: string"))
    write_classifier(models_root(sandbox) / "sentiment")
    scaffold(sandbox, "sentiment", input="third")
    assert load(sandbox)[0].features == (TextFeature(column="words"),)


def write_pickled(folder: Path) -> None:
    write_classifier(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def write_empty(folder: Path) -> None:
    write_classifier(folder)
    (folder / "model.safetensors").unlink()


def write_question_answering(folder: Path) -> None:
    write_tokenizer(folder)
    write_network(folder, auto=transformers.AutoModelForQuestionAnswering)


def write_weights_only(folder: Path) -> None:
    folder.mkdir()
    save_file({"weight": torch.ones(2, 2)}, folder / "weights.safetensors")


def write_text(text: str) -> Any:
    return lambda path: path.write_text(text)


BAD: list[tuple[str, Any, dict[str, str], str]] = [
    ("sentiment", write_classifier, {"model": "sentimnet"}, r"no model 'sentimnet' in .*did you mean 'sentiment'"),
    ("sentiment", write_classifier, {"input": "a-b"}, r"'a-b' is not an asset key"),
    ("sentiment", write_classifier, {"column": "reviev"}, r"has no column 'reviev'; did you mean 'review'"),
    (
        "sentiment",
        write_classifier,
        {"column": "stars"},
        r"text feature cannot read column 'stars' of .* as double: it must be string",
    ),
    (
        "sentiment",
        write_classifier,
        {"input": "numbers"},
        r"input 'numbers' has no column for the model's text feature\. Its columns: a long",
    ),
    ("sentiment", write_pickled, {}, r"its weights are a pickle \(pytorch_model\.bin\)"),
    ("sentiment", write_empty, {}, r"holds no weights"),
    (
        "sentiment",
        write_question_answering,
        {},
        r"holds a BertForQuestionAnswering, which does not say what is predicted",
    ),
    ("sentiment", write_weights_only, {}, r"neither config\.json nor modules\.json.* It holds: weights\.safetensors"),
    ("notes.txt", write_text("hello"), {}, r"notes\.txt is no model that is known by its ending: \.bin, \.onnx"),
    ("net.safetensors", write_text("hello"), {}, r"is not a file of safetensors"),
    ("net.pt", write_text("hello"), {}, r"is not a checkpoint of torch\.save"),
    ("net.pt2", write_text("hello"), {}, r"was not written by torch\.export\.save"),
    ("net.onnx", write_text("hello"), {}, r"is not an ONNX file"),
    ("a{{ env.HOME }}.pt", lambda path: torch.save({}, path), {}, r"contains \{\{, which begins a template"),
]


@pytest.mark.promise("M222")
@pytest.mark.parametrize(("name", "write", "options", "message"), BAD, ids=[message for *_, message in BAD])
def test_what_cannot_be_declared_is_said_and_leaves_nothing_behind(
    sandbox: DefsFolderSandbox, name: str, write: Any, options: dict[str, str], message: str
):
    numbers = sandbox.defs_folder_path / "numbers"
    numbers.mkdir()
    (numbers / "defs.yaml").write_text(TABLE.replace("{id: long, review: string, title: string, ", "{a: long} #"))
    write(models_root(sandbox) / name)
    before = sorted(sandbox.project_root.rglob("*"))
    with pytest.raises(ValueError, match=message):
        scaffold(sandbox, **{"model": name, **options})
    assert sorted(sandbox.project_root.rglob("*")) == before


@pytest.mark.promise("M222")
def test_options_without_a_model_fill_the_skeleton_or_are_refused(sandbox: DefsFolderSandbox):
    def write(name: str, **options: str) -> Path:
        return sandbox.scaffold_component(MlTaskComponent, defs_path=name, scaffold_params=options)

    write("mood", input="predictions/other")
    assert load(sandbox)[0].input == "predictions/other"
    with pytest.raises(ValueError, match=r"input='a b' is not an asset key"):
        write("nested/folder/other", input="a b")
    with pytest.raises(ValueError, match=r"no model is named; add --model"):
        write("other", column="a")
    assert not (sandbox.defs_folder_path / "nested").exists()
    assert not (sandbox.defs_folder_path / "other").exists()


def test_values_and_comments_are_read_back_as_what_they_are():
    for value in [
        "no",
        "0",
        "a: b",
        "x\ny",
        "\u2028",
        "#",
        "- a",
        1e-05,
        True,
        None,
        [1, "[", {"k,": "}"}],
        "\U000e0001",
        "é",
    ]:
        assert yaml.safe_load(f"key: {flow(value)}  # comment") == {"key": value}
        assert yaml.safe_load(f"{{key: {flow(value)}}}") == {"key": value}
        assert len(flow(value).splitlines()) == 1
    assert all(line.startswith("  # ") for line in comment("a\nb \x85 c\u2029d " * 50, 2))
    assert flow(EmbeddingOutput(length=3, pooling="cls")) == "{kind: embedding, length: 3, pooling: cls}"
    assert flow(RegressionOutput()) == "{kind: regression}"
    assert flow(ClassificationOutput(scores=True)) == "{kind: classification, scores: true}"


@pytest.mark.promise("M220")
def test_a_declaration_is_appended_to_a_file(sandbox: DefsFolderSandbox):
    from dagster.components.component_scaffolding import scaffold_object

    write_classifier(models_root(sandbox) / "sentiment")
    file = sandbox.defs_folder_path / "reviews" / "defs.yaml"
    params = json.dumps({"model": "sentiment", "input": "reviews"})
    scaffold_object(file, "sparktorch_assets.MlTaskComponent", params, "yaml", sandbox.project_root, append=True)
    first, second = yaml.safe_load_all(file.read_text())
    assert first["type"].endswith(InputTableComponent.__name__)
    assert second["attributes"]["features"] == [{"kind": "text", "column": "review"}]
