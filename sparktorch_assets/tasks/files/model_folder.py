"""What a Hugging Face or sentence-transformers folder says about its model, read from its JSON files."""

from functools import cached_property
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.audio_settings import AudioSettings
from sparktorch_assets.tasks.files.folder_json import read_settings
from sparktorch_assets.tasks.files.image_settings import ImageSettings
from sparktorch_assets.tasks.files.sentence_modules import SentenceModules
from sparktorch_assets.tasks.outputs import ClassificationOutput, MultilabelOutput, Output, RegressionOutput

_CLASSIFIER = ("ForSequenceClassification", "ForImageClassification")
_UNLIMITED = 1_000_000
"""A `model_max_length` of at least this means that the tokenizer knows no limit."""
_POSITIONS_AFTER_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Model types that number positions from `pad_token_id` + 1 on, so that fewer tokens fit than there are positions."""


class ModelFolder:
    """A folder that `save_pretrained` of transformers or of sentence-transformers has written.

    Nothing is read before it is asked for, and only JSON is: no code and no weights.

    Args:
        path: the folder.

    Raises:
        ModelError: there is no such folder, or it has neither `config.json` nor `modules.json`.
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
            ModelError: there are neither.
        """
        for suffix in ("safetensors", "bin"):
            found = sorted(file.name for file in self.network.glob(f"*.{suffix}"))
            if found:
                return tuple(found)
        raise ModelError(f"{self.network} holds no weights (model.safetensors); copy the whole folder")

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickles, which can run code when they are opened."""
        return not self.weights[0].endswith(".safetensors")

    @property
    def classifies(self) -> bool:
        """Whether the network has a head that gives logits, one per label."""
        return not self.sentence_transformers and self.architecture.endswith(_CLASSIFIER)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The network's `config.json`."""
        return read_settings(self.network / "config.json")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits; those of transformers (`LABEL_0` ...) if the folder names none."""
        named = self.config.get("id2label")
        if isinstance(named, dict) and named:
            try:
                return tuple(str(named[number]) for number in sorted(named, key=int))
            except ValueError:
                raise ModelError(
                    f"{self.network / 'config.json'}: a key of id2label is not a number; declare the task's labels"
                ) from None
        return tuple(f"LABEL_{number}" for number in range(int(self.config.get("num_labels", 2))))

    @cached_property
    def output(self) -> Output:
        """What the model predicts: from `architectures`, `problem_type` and the number of labels; or, with
        sentence-transformers, from its pooling and normalization.

        Raises:
            ModelError: that is not known from the folder, or the folder does more than is known here.
        """
        if self.sentence_transformers:
            return self._modules.output
        if not self.classifies:
            raise ModelError(
                f"{self.path} holds a {self.architecture}, which does not say what is predicted for a row. For vectors, "
                f"declare `output: {{kind: embedding, length: {self.config.get('hidden_size', '...')}, pooling: mean}}` (or cls); "
                f"networks for sequence and image classification say it themselves; for others, name a factory"
            )
        problem, labels = self.config.get("problem_type"), len(self.labels)
        if problem == "multi_label_classification":
            return MultilabelOutput()
        if problem == "regression" or (problem is None and labels == 1):
            return RegressionOutput() if labels == 1 else RegressionOutput(length=labels)
        return ClassificationOutput()

    @cached_property
    def tokenizer(self) -> Path:
        """The network's `tokenizer.json`.

        Raises:
            ModelError: there is none, or the model changes texts in a way that it does not contain.
        """
        path = self.network / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                f"{self.network} has no tokenizer.json. Load its tokenizer with transformers.AutoTokenizer and write it "
                f"with save_pretrained, which adds the file; or name a tokenizer in the text feature"
            )
        for does, what in self._changes_of_texts():
            if does:
                raise ModelError(
                    f"{self.path} {what}, which is not done here. Do it with a batch_preprocessor, and name the tokenizer "
                    f"and max_tokens in the text feature"
                )
        return path

    @cached_property
    def max_tokens(self) -> int:
        """Number of tokens, with the special ones, to which the model cuts a text.

        Raises:
            ModelError: the folder does not say it.
        """
        named = self._sentence_config("sentence_bert_config.json").get("max_seq_length")
        if named is None:
            named = self._tokenizer_config.get("model_max_length")
        limits = (named, self._positions())
        known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _UNLIMITED]
        if not known:
            raise ModelError(
                f"{self.network} does not say how long a text may be (model_max_length in tokenizer_config.json); name the "
                f"tokenizer in the text feature, together with max_tokens"
            )
        return min(known)

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

    def _changes_of_texts(self) -> tuple[tuple[bool, str], ...]:
        """What may happen to a text outside of the tokenizer's file: whether it does, and what it is."""
        prompt = self._sentence_config("config_sentence_transformers.json").get("default_prompt_name")
        lowers = self._sentence_config("sentence_bert_config.json").get("do_lower_case")
        return (
            (prompt is not None, f"puts its prompt {prompt!r} before every text"),
            (bool(lowers), "lowers the case of every text (do_lower_case in sentence_bert_config.json)"),
            (
                self._tokenizer_config.get("truncation_side") == "left",
                "cuts long texts at their beginning (truncation_side in tokenizer_config.json)",
            ),
        )

    @cached_property
    def _tokenizer_config(self) -> dict[str, Any]:
        return read_settings(self.network / "tokenizer_config.json", optional=True)

    def _positions(self) -> int | None:
        positions = self.config.get("max_position_embeddings", self.config.get("n_positions"))
        if not isinstance(positions, int) or self.config.get("model_type") not in _POSITIONS_AFTER_PADDING:
            return positions
        return positions - int(self.config.get("pad_token_id") or 0) - 1

    @cached_property
    def _modules(self) -> SentenceModules:
        return SentenceModules(self.path)

    def _sentence_config(self, name: str) -> dict[str, Any]:
        """Settings of sentence-transformers; empty for other folders."""
        if not self.sentence_transformers:
            return {}
        folder = self.network if name == "sentence_bert_config.json" else self.path
        return read_settings(folder / name, optional=True)
