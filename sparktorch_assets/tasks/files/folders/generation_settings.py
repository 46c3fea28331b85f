"""What a Hugging Face folder says about the text that its network writes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.folder_json import read_settings
from sparktorch_assets.tasks.outputs import GenerationOutput

MAX_NEW_TOKENS = 256
"""Where neither task nor folder says it, as in transformers' pipelines."""
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_FOR_TEXTS = (
    "bart",
    "bigbird_pegasus",
    "blenderbot",
    "blenderbot-small",
    "fsmt",
    "led",
    "longt5",
    "m2m_100",
    "marian",
    "mbart",
    "mt5",
    "mvp",
    "nllb-moe",
    "pegasus",
    "pegasus_x",
    "plbart",
    "prophetnet",
    "switch_transformers",
    "t5",
    "t5gemma",
    "umt5",
)
"""Model types of `...ForConditionalGeneration` that read texts. Others of that name read images or sounds."""
_RELATIVE = ("longt5", "mt5", "switch_transformers", "t5", "t5gemma", "umt5")
"""Those without a largest number of positions."""


def is_causal(architecture: str) -> bool:
    """Whether a network of this class continues a text."""
    return architecture.endswith(_CAUSAL)


def writes_text(architecture: str, model_type: Any) -> bool:
    """Whether a network of this class and type writes a text for a text."""
    reads = architecture.endswith("ForConditionalGeneration") or architecture == "MarianMTModel"
    return is_causal(architecture) or (reads and model_type in _FOR_TEXTS)


def generation_of(
    folder: Path,
    output: GenerationOutput,
    config: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    positions: int | None,
) -> GenerationOutput:
    """The output with the largest number of new tokens and with what is done about spaces.

    Args:
        folder: where `generation_config.json` is.
        output: what the task declares.
        config: `config.json`.
        tokenizer_config: `tokenizer_config.json`.
        positions: the number of positions that `config.json` names.

    Raises:
        ModelError: the network has no positions for that many tokens.
    """
    causal = is_causal(str(config["architectures"][0]))
    limit = output.max_new_tokens
    if limit is None:
        named = read_settings(folder / "generation_config.json", optional=True) or config
        limit = named.get("max_new_tokens")
        if limit is None and not causal and isinstance(named.get("max_length"), int):
            limit = named["max_length"] - 1  # it counts the token with which the decoder starts
        if not isinstance(limit, int) or limit < 1:
            limit = MAX_NEW_TOKENS
    fits = (
        positions is None or positions < 1 or config.get("model_type") in _RELATIVE or limit < positions + (not causal)
    )
    if not fits:
        raise ModelError(
            f"max_new_tokens={limit} leaves no room for a prompt in the {positions} positions of {folder}; set it lower in the "
            f"output"
            if causal
            else f"max_new_tokens={limit} is more than the {positions} positions of {folder}; set it lower in the output"
        )
    cleans = output.clean_up_tokenization_spaces
    if cleans is None:
        cleans = tokenizer_config.get("clean_up_tokenization_spaces") is True
    return replace(output, max_new_tokens=limit, clean_up_tokenization_spaces=cleans)
