"""What a Hugging Face or sentence-transformers folder says about its model, read from its JSON files."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.audio_settings import AudioSettings
from sparktorch_assets.tasks.files.folders.folder_json import read_settings
from sparktorch_assets.tasks.files.folders.generation_settings import generation_of, is_causal, writes_text
from sparktorch_assets.tasks.files.folders.image_settings import ImageSettings
from sparktorch_assets.tasks.files.folders.labels import NO_LABEL, labels_of
from sparktorch_assets.tasks.files.folders.sentence_modules import SentenceModules
from sparktorch_assets.tasks.files.folders.text_settings import TextSettings
from sparktorch_assets.tasks.outputs import (
    ClassificationOutput,
    DetectionOutput,
    GenerationOutput,
    MultilabelOutput,
    Output,
    RegressionOutput,
    TokenClassificationOutput,
)

_HEADS = ("ForSequenceClassification", "ForImageClassification", "ForTokenClassification", "ForObjectDetection")
"""The ends of the names of networks that say what is predicted, and of the Auto classes that load them."""
_SCORINGS: Mapping[str, Literal["softmax", "sigmoid"]] = {
    **dict.fromkeys(("detr", "table-transformer", "yolos"), "softmax"),
    **dict.fromkeys(
        (
            *("conditional_detr", "d_fine", "dab-detr", "deformable_detr", "deimv2"),
            *("lw_detr", "rf_detr", "rt_detr", "rt_detr_v2"),
        ),
        "sigmoid",
    ),
}
"""How the image processors of transformers make scores of the logits of these model types."""
_ENCODERS = ("Model", "ForMaskedLM", "ForPreTraining")
"""The ends of the names of networks that are, apart from a head that is not used here, encoders."""


class ModelFolder:
    """A folder that `save_pretrained` of transformers or of sentence-transformers has written.

    Nothing is read before it is asked for, and only JSON is: no code and no weights.

    Args:
        path: the folder.

    Raises:
        ModelError: there is no such folder, it has neither `config.json` nor `modules.json`, or it holds an adapter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise ModelError(
                f"there is no folder {path}, which should be a Hugging Face folder, as its name has no suffix. Check the "
                f"task's path and the model loader's models_root; for a file, set format in the task's model"
            )
        self.sentence_transformers = (path / "modules.json").is_file()
        """Whether the folder is one of sentence-transformers."""
        _check_no_adapter(path)
        if not self.sentence_transformers and not (path / "config.json").is_file():
            raise ModelError(
                f"{path} holds neither config.json nor modules.json, so it is no folder of transformers or "
                f"sentence-transformers. Name the weights file in it, or a factory that takes the folder"
            )

    @cached_property
    def network(self) -> Path:
        """The folder of the network's `config.json`, weights and tokenizer: the folder itself, or one in it."""
        return self._modules.network if self.sentence_transformers else self.path

    @cached_property
    def architecture(self) -> str:
        """The class of the network, such as `BertForSequenceClassification`."""
        named = self.config.get("architectures")
        if not isinstance(named, list) or not named:
            raise ModelError(
                f"{self.network / 'config.json'} names no architectures, so it is not known which network the weights "
                f"belong to; write the folder with save_pretrained"
            )
        return str(named[0])

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of the weights files: safetensors; or, if there are none, pickles.

        Raises:
            ModelError: there are neither, or they are those of an adapter.
        """
        _check_no_adapter(self.network)
        for pattern in ("[!.]*.safetensors", "pytorch_model*.bin"):  # hidden files have no digest
            found = sorted(file.name for file in self.network.glob(pattern) if file.is_file())
            if found:
                return tuple(found)
        raise ModelError(f"{self.network} holds no weights (model.safetensors); copy the whole folder")

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickles, which can run code when they are opened."""
        return not self.weights[0].endswith(".safetensors")

    @property
    def head(self) -> str | None:
        """What the network has a head for, `ForTokenClassification` for instance, if that says what is predicted."""
        if self.sentence_transformers:
            return None
        return next((head for head in _HEADS if self.architecture.endswith(head)), None)

    @property
    def causal(self) -> bool:
        """Whether the network continues a text; else, it may write one for a text."""
        return is_causal(self.architecture)

    @property
    def writes_text(self) -> bool:
        """Whether the network has a head that gives the next token of a text."""
        return not self.sentence_transformers and writes_text(self.architecture, self.config.get("model_type"))

    def generation(self, output: GenerationOutput) -> GenerationOutput:
        """The output with what the folder says and it does not.

        Raises:
            ModelError: the network writes no text, or the output asks for more tokens than it has positions.
        """
        if not self.writes_text:
            raise ModelError(
                f"{self.path} holds a {self.architecture}, which writes no text: output 'generation' takes causal models "
                f"(...ForCausalLM, ...LMHeadModel) and sequence-to-sequence models of text (such as T5 or BART)"
            )
        return generation_of(self.network, output, self.config, self.texts.tokenizer_config, self.texts.positions)

    @property
    def encodes(self) -> bool:
        """Whether the network gives vectors, and the folder does not say how one is made of those of a row."""
        return not self.sentence_transformers and self.architecture.endswith(_ENCODERS)

    @property
    def reads(self) -> Literal["text", "image", "audio"]:
        """The kind of the feature that the model takes."""
        prepares = read_settings(self.network / "preprocessor_config.json", optional=True)
        if self.sentence_transformers or not prepares:
            return "text"
        return (
            "audio" if "sampling_rate" in prepares else "image"
        )  # older image processors are "feature extractors", too

    @cached_property
    def config(self) -> dict[str, Any]:
        """The network's `config.json`."""
        return read_settings(self.network / "config.json")

    @property
    def vector_length(self) -> int | None:
        """Number of components of the network's vectors, by any of the names that configurations have for it; `None` if
        they do not say it."""
        named = (self.config.get(name) for name in ("hidden_size", "dim", "d_model", "n_embd"))
        return next((length for length in named if isinstance(length, int)), None)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits; those of transformers (`LABEL_0` ...) if the folder names none.

        Raises:
            ModelError: they are not one text for each of the numbers from 0 on, or the same text twice.
        """
        return labels_of(self.config, self.network / "config.json")

    @property
    def names_labels(self) -> bool:
        """Whether the labels have names of their own."""
        return not all(label.startswith(NO_LABEL) for label in self.labels)

    @cached_property
    def output(self) -> Output:
        """What the model predicts: from `architectures`, `problem_type` and the number of labels; or, with
        sentence-transformers, from its pooling and normalization.

        Raises:
            ModelError: that is not known from the folder, or the folder does more than is known here.
        """
        if self.sentence_transformers:
            return self._modules.output
        if self.writes_text:
            return self.generation(GenerationOutput())
        if self.head is None:
            raise ModelError(
                f"{self.path} holds a {self.architecture}, which does not say what is predicted for a row. For vectors, "
                f"declare `output: {{kind: embedding, length: {self.vector_length or '...'}, pooling: mean}}` (or cls); "
                f"networks for sequence, image and token classification, for object detection and for text generation say it "
                f"themselves; for others, name a factory"
            )
        if self.head == "ForTokenClassification":
            return TokenClassificationOutput()
        return self._detection() if self.head == "ForObjectDetection" else self._of_row()

    def _of_row(self) -> Output:
        """What a network predicts that has one head for the whole row."""
        problem, labels = self.config.get("problem_type"), len(self.labels)
        if problem == "multi_label_classification":
            return MultilabelOutput()
        if problem == "regression" or (problem is None and labels == 1):
            return RegressionOutput() if labels == 1 else RegressionOutput(length=labels)
        return ClassificationOutput()

    def _detection(self) -> DetectionOutput:
        kind = self.config.get("model_type")
        if kind not in _SCORINGS:
            raise ModelError(
                f"{self.path} holds a {self.architecture} of model_type {kind!r}, of which it is not known how its logits "
                f"become scores; declare `labels` and `output: {{kind: detection, scoring: softmax}}` (or sigmoid)"
            )
        return DetectionOutput(scoring=_SCORINGS[str(kind)])

    @property
    def sentence_modules(self) -> SentenceModules | None:
        """The modules of a folder of sentence-transformers; `None` for other folders."""
        return self._modules if self.sentence_transformers else None

    @cached_property
    def texts(self) -> TextSettings:
        """How texts are prepared."""
        return TextSettings(self.path, self.network, self.config, self.sentence_modules)

    @cached_property
    def images(self) -> ImageSettings:
        """How images are prepared.

        Raises:
            ModelError: the folder does not say it, or does more than an image feature does.
        """
        return ImageSettings.of_folder(self.network)

    @cached_property
    def audio(self) -> AudioSettings:
        """How recordings are prepared.

        Raises:
            ModelError: the folder does not say it, or does more than an audio feature does.
        """
        return AudioSettings.of_folder(self.network)

    @cached_property
    def _modules(self) -> SentenceModules:
        return SentenceModules(self.path)


def _check_no_adapter(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter (adapter_config.json), which changes a network that may lie elsewhere. Load it with "
            f"peft, call merge_and_unload(), and write the result with save_pretrained"
        )
