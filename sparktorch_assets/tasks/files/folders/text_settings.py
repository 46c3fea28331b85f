"""How a folder prepares texts: its tokenizer, what is put before them, and how long they may be."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.folder_json import read_settings
from sparktorch_assets.tasks.files.folders.sentence_modules import SentenceModules

_UNLIMITED = 1_000_000
"""A `model_max_length` of at least this means that the tokenizer knows no limit."""
_ANY_NETWORKS = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""The classes of tokenizers that belong to no network, which give no type ids unless they are told to."""
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


class TextSettings:
    """What is done to a text before the network gets it.

    Args:
        path: the model's folder.
        network: the folder of its network, which holds the tokenizer.
        config: the network's `config.json`.
        modules: the modules of a folder of sentence-transformers; `None` for other folders.
    """

    def __init__(self, path: Path, network: Path, config: Mapping[str, Any], modules: SentenceModules | None) -> None:
        self._path, self._network, self._config, self._modules = path, network, config, modules

    @cached_property
    def tokenizer(self) -> Path:
        """The network's `tokenizer.json`.

        Raises:
            ModelError: there is none, or the model changes texts in a way that it does not contain.
        """
        path = self._network / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                f"{self._network} has no tokenizer.json. Load its tokenizer with transformers.AutoTokenizer and write it "
                f"with save_pretrained, which adds the file; or name a tokenizer in the text feature"
            )
        for does, what in self._changes_of_texts():
            if does:
                raise ModelError(
                    f"{self._path} {what}, which is not done here. Do it with a batch_preprocessor, and name the tokenizer "
                    f"and max_tokens in the text feature"
                )
        return path

    @cached_property
    def prompt(self) -> str:
        """What sentence-transformers puts before every text; empty if nothing.

        Raises:
            ModelError: the folder names a prompt that it does not hold, or that is left out when its tokens are pooled.
        """
        settings = self._sentence_config("config_sentence_transformers.json")
        name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
        if name is None:
            return ""
        found = prompts.get(name) if isinstance(prompts, dict) else None
        if not isinstance(found, str):
            raise ModelError(
                f"{self._path / 'config_sentence_transformers.json'} names the prompt {name!r}, which is not among its prompts; "
                f"give the text feature a template, which takes its place"
            )
        if found and self._modules is not None and not self._modules.pools_prompt:
            raise ModelError(
                f"{self._path} puts its prompt {name!r} before every text and does not pool its tokens (include_prompt), "
                f"which is not done here; name a factory that loads the folder with sentence_transformers"
            )
        return found

    @cached_property
    def max_tokens(self) -> int:
        """Number of tokens, with the special ones, to which the model cuts a text.

        Raises:
            ModelError: the folder does not say it.
        """
        named = self._sentence_config("sentence_bert_config.json").get("max_seq_length")
        if named is None:
            named = self.tokenizer_config.get("model_max_length")
        limits = (named, self.positions)
        known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _UNLIMITED]
        if not known:
            raise ModelError(
                f"{self._network} does not say how long a text may be (model_max_length in tokenizer_config.json); name the "
                f"tokenizer in the text feature, together with max_tokens"
            )
        return min(known)

    @property
    def takes_type_ids(self) -> bool:
        """Whether the network gets the type ids of a pair of texts: it does if its tokenizer's settings say so; or, where
        they leave it to the tokenizer's class, if that is one of the network's own and the network tells types apart."""
        inputs = self.tokenizer_config.get("model_input_names")
        if isinstance(inputs, list):
            return "token_type_ids" in inputs
        if self.tokenizer_config.get("tokenizer_class") in _ANY_NETWORKS:
            return False
        return int(self._config.get("type_vocab_size") or 0) > 1

    def _changes_of_texts(self) -> tuple[tuple[bool, str], ...]:
        """What may happen to a text outside of the tokenizer's file: whether it does, and what it is."""
        lowers = self._sentence_config("sentence_bert_config.json").get("do_lower_case")
        return (
            (
                bool(lowers) and not self._tokenizer_lowers,
                "lowers the case of every text (do_lower_case in sentence_bert_config.json)",
            ),
            (
                self.tokenizer_config.get("truncation_side") == "left",
                "cuts long texts at their beginning (truncation_side in tokenizer_config.json)",
            ),
        )

    @property
    def _tokenizer_lowers(self) -> bool:
        """Whether the tokenizer lowers the case of texts itself."""
        normalizer = read_settings(self._network / "tokenizer.json").get("normalizer")
        steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
        return any(
            step.get("type") == "Lowercase" or (step.get("type") == "BertNormalizer" and step.get("lowercase") is True)
            for step in steps
            if isinstance(step, dict)
        )

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """The tokenizer's `tokenizer_config.json`; empty if there is none."""
        return read_settings(self._network / "tokenizer_config.json", optional=True)

    @property
    def positions(self) -> int | None:
        """Number of tokens for which the network has positions; `None` if it does not say it."""
        positions: int | None = self._config.get("max_position_embeddings", self._config.get("n_positions"))
        if not isinstance(positions, int) or self._config.get("model_type") not in _POSITIONS_AFTER_PADDING:
            return positions
        return positions - int(self._config.get("pad_token_id") or 0) - 1

    def _sentence_config(self, name: str) -> dict[str, Any]:
        """Settings of sentence-transformers; empty for other folders."""
        if self._modules is None:
            return {}
        folder = self._network if name == "sentence_bert_config.json" else self._path
        return read_settings(folder / name, optional=True)
