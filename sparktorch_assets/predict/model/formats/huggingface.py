"""Loads the network of a Hugging Face or sentence-transformers folder with transformers' Auto classes.

Nothing is downloaded, and no code from the folder runs unless the task sets `trust_code`.

Shapes: B rows of a batch, T tokens, C channels, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.file_bounds import check_safetensors
from sparktorch_assets.predict.model.formats.audio_network import AudioNetwork
from sparktorch_assets.predict.model.formats.generation import GeneratingNetwork
from sparktorch_assets.predict.model.formats.named_arguments import by_name
from sparktorch_assets.predict.model.formats.sentence_network import with_dense
from sparktorch_assets.tasks.files.folders.folder_json import read_settings
from sparktorch_assets.tasks.files.folders.model_folder import ModelFolder
from sparktorch_assets.tasks.model_spec import ModelSpec
from sparktorch_assets.tasks.outputs import EmbeddingOutput, GenerationOutput, Output

_OF_TEXTS = ("input_ids", "attention_mask", "token_type_ids")
_OF_IMAGES = ("pixel_values",)
"""What networks of transformers call the arguments that a feature gives by position."""


class TextNetwork(torch.nn.Module):
    """A network of transformers that takes what a text feature gives: token ids, their mask and their type ids, by
    position or by name. Arguments by other names, such as those of further features, are passed on."""

    def __init__(self, network: torch.nn.Module, padding_id: int | None, path: Path) -> None:
        super().__init__()
        self.network = network
        self.padding_id = padding_id
        self._path = path

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> Any:
        """What the network returns. Padding has the network's own id, since some find the last token by it."""
        given = by_name(_OF_TEXTS, arguments, named)
        token_ids_BT, mask_BT = given.get("input_ids"), given.get("attention_mask")
        if mask_BT is not None:
            given["attention_mask"] = mask_BT.long()
        if token_ids_BT is not None and mask_BT is not None:
            given["input_ids"] = token_ids_BT.masked_fill(~mask_BT.bool(), self.padding_id or 0)
        try:
            return self.network(**given)
        except ValueError as error:
            if self.padding_id is not None or "padding token" not in str(error):
                raise
            # Every batch would raise, and be divided into single rows.
            raise ModelError(
                f"{self._path / 'config.json'} names no pad_token_id, by which {type(self.network).__name__} finds where each "
                f"text of a batch ends; add it: the id of the tokenizer's padding token or, if it has none, of its end token"
            ) from error


class ImageNetwork(torch.nn.Module):
    """A network of transformers that takes what an image feature gives, by position or by name. Arguments by other names
    are passed on."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> Any:
        """What the network returns."""
        return self.network(**by_name(_OF_IMAGES, arguments, named))


def read_huggingface(spec: ModelSpec, path: Path, output: Output | None = None) -> torch.nn.Module:
    """The folder's network, in fp32, with positional arguments: for this output, else for what the folder says.

    Raises:
        ModelError: transformers is not installed, or cannot load the folder without what the task does not trust; or the
            weights do not fill the network.
    """
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            f"{path} is a Hugging Face folder, which takes the package transformers, and that cannot be imported here "
            f"({error}); run pip install 'sparktorch-assets[huggingface]' on every worker"
        ) from error
    folder = ModelFolder(path)
    if folder.pickled and not (spec.trust_code or spec.sha256):
        raise ModelError(f"{path} is not opened: its weights are a pickle. Set sha256 or trust_code in its ModelSpec")
    if not folder.pickled:
        _check_files(folder)
    if not spec.trust_code:
        _check_no_kernels(folder.network / "config.json", folder.config)
    try:
        with _offline(), _without_progress_bar():
            network, info = _auto_class(folder, output, transformers).from_pretrained(
                folder.network,
                local_files_only=True,
                trust_remote_code=spec.trust_code,
                use_safetensors=not folder.pickled,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are refused below, with their names
                output_loading_info=True,
            )
    except Exception as error:  # of transformers, safetensors, the operating system, or the folder's own code
        raise ModelError(_cannot_load(path, error)) from error
    _check_complete(path, network, info)
    network.requires_grad_(requires_grad=False)
    if network.main_input_name == "pixel_values":
        return ImageNetwork(network)
    if isinstance(output, GenerationOutput):
        return GeneratingNetwork(network, output, path)
    if network.main_input_name == "input_values":
        return AudioNetwork(network, folder.audio)
    texts = TextNetwork(network, network.config.get_text_config().pad_token_id, folder.network)
    modules = folder.sentence_modules
    return with_dense(texts, modules) if modules is not None and modules.dense else texts


def _check_files(folder: ModelFolder) -> None:
    """Raise ModelError if a header is too long, or if the settings or the list of a sharded model name a file that is not one
    of the folder's safetensors: it would be no part of the digest, or a pickle."""
    for name in folder.weights:
        check_safetensors(folder.network / name)
    indexes = sorted(file for file in folder.network.glob("*.safetensors.index.json") if not file.name.startswith("."))
    named = folder.config.get("transformers_weights")  # which file transformers opens instead of model.safetensors
    if named is not None and named not in (*folder.weights, *(index.name for index in indexes)):
        raise ModelError(_foreign(folder.network / "config.json", named))
    for index in indexes:
        listed = read_settings(index).get("weight_map")
        files = set(map(str, listed.values())) if isinstance(listed, dict) else {"nothing"}
        for other in sorted(files - set(folder.weights)):
            raise ModelError(_foreign(index, other))


def _check_no_kernels(file: Path, settings: dict[str, Any]) -> None:
    """Raise ModelError if the settings name compiled code of a repository, which transformers runs if the package kernels is
    installed and has a copy."""
    for name, value in settings.items():
        if name.endswith("_implementation") and "/" in str(value):
            raise ModelError(
                f"{file} names {str(value)[:200]} as {name}, which is code from outside of the folder. Remove the line, or trust "
                f"that code with `trust_code: true` in the task's model"
            )
        if isinstance(value, dict):
            _check_no_kernels(file, value)


def _foreign(file: Path, name: Any) -> str:
    return f"{file} names {str(name)[:200]}, which is no safetensors file of this folder; copy the whole folder"


def _cannot_load(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())
    way_out = ""
    if "trust_remote_code" in reason:
        way_out = ". The folder's own code runs only with `trust_code: true` in the task's model: read it first"
    return f"transformers cannot load {path}: {type(error).__name__}: {reason}{way_out}"


@contextmanager
def _offline() -> Iterator[None]:
    """The same as `HF_HUB_OFFLINE=1`, which is read only when the library is imported, while the block runs.

    `local_files_only` does not cover everything: for code that a folder names in another repository, transformers asks
    the hub all the same.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing its progress bar into the log of every worker while the block runs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]


def _auto_class(folder: ModelFolder, output: Output | None, transformers: Any) -> Any:
    """The class of transformers that loads the network with the folder's head; without one, and for vectors, which a head
    would turn into something else, the bare encoder's."""
    if isinstance(output, EmbeddingOutput):
        return transformers.AutoModel
    if isinstance(output, GenerationOutput):
        return transformers.AutoModelForCausalLM if folder.causal else transformers.AutoModelForSeq2SeqLM
    # Networks for audio have names like those for texts, such as Wav2Vec2ForSequenceClassification.
    from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

    if folder.head and folder.architecture in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values():
        return transformers.AutoModelForAudioClassification
    return getattr(transformers, f"AutoModel{folder.head or ''}")


def _check_complete(path: Path, network: Any, info: dict[str, Any]) -> None:
    """Raise ModelError if the weights lack a part of the network, or if a part has another size: transformers would fill it
    with random numbers.

    The pooler of an encoder may be lacking: it is not used for vectors that are pooled over tokens, and is removed.
    """
    sizes = [f"{name} has {tuple(has)}, not {tuple(wanted)}" for name, has, wanted in sorted(info["mismatched_keys"])]
    if sizes:
        raise ModelError(
            f"the weights in {path} do not fit its config.json, which describes a {type(network).__name__}: "
            f"{'; '.join(sizes[:5])}{' ...' if len(sizes) > 5 else ''}. The number of labels (id2label) or another size was "
            f"changed after the weights were saved: restore it, or save the folder again"
        )
    missing = sorted(map(str, info["missing_keys"]))
    if missing and all(name.startswith("pooler.") for name in missing):
        network.pooler = None
        missing = []
    if missing:
        raise ModelError(
            f"the weights in {path} lack {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}, which "
            f"{type(network).__name__} needs: they were saved from another network than config.json names. Save the "
            f"folder again, from the network that predicts"
        )
