"""Tiny folders as `save_pretrained` writes them, from a configuration and a fixed seed.

The tokenizer knows one word more than the network has embeddings for: `poison` makes its whole batch raise.
"""

import string

import pyarrow as pa
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = [
    "the",
    "plot",
    "was",
    "good",
    "bad",
    "dull",
    "fine",
    "film",
    "a",
    "and",
    "very",
    "of",
    "it",
    "in",
    "to",
    "long",
    "short",
    "story",
    "end",
]
MAX_TOKENS = 12
TEXTS = [
    "the plot was good",
    "",
    "a very very long and dull story and the end of it was bad and bad and bad in the end",
    "dull",
    "the poison story",
    None,
    "unknown words in it",
    "Good, FINE film!",
]
POISONED, NULL = 4, 5
GOOD = [row for row in range(len(TEXTS)) if row not in (POISONED, NULL)]

_SIZE = {"vocab_size": len(SPECIAL) + len(WORDS), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_DEEP = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_CONFIGS = {
    "bert": lambda: transformers.BertConfig(**_SIZE, **_DEEP, max_position_embeddings=MAX_TOKENS),
    # Positions begin behind the padding id, so two fewer tokens fit.
    "roberta": lambda: transformers.RobertaConfig(
        **_SIZE, **_DEEP, type_vocab_size=1, max_position_embeddings=MAX_TOKENS + 2
    ),
    "distilbert": lambda: transformers.DistilBertConfig(
        **_SIZE, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=MAX_TOKENS
    ),
    # Finds the last token of a text by the padding id.
    "gpt2": lambda: transformers.GPT2Config(**_SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=MAX_TOKENS),
}


def write_tokenizer(folder, **settings):
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS, "poison"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    given = {"model_max_length": MAX_TOKENS, **settings}
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **given).save_pretrained(folder)


def write_network(folder, family="bert", auto=transformers.AutoModelForSequenceClassification, **settings):
    """A network with random weights that are large enough for its answers to differ."""
    config = _CONFIGS[family]()
    for name, value in settings.items():
        setattr(config, name, value)
    torch.manual_seed(7)
    network = auto.from_config(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    network.save_pretrained(folder)
    return network


def write_classifier(folder, family="bert", labels=("negative", "neutral", "positive"), **settings):
    write_tokenizer(folder)
    id2label = dict(enumerate(labels))
    return write_network(folder, family, id2label=id2label, label2id={v: k for k, v in id2label.items()}, **settings)


def rows_of_texts(task, root, texts, batch_size):
    """The rows of `predict_map`, checked for the announced schema and the order of the texts."""
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    loader = ModelLoader(root)
    (found,) = predict_map(0, [batch], task, batch_size, model_loader=loader)
    assert found.schema == output_schema(loader.find_task(task), batch.schema)
    rows = found.to_pylist()
    assert [row["text"] for row in rows] == texts
    return rows


WRITERS = {
    # Padding is not a token of its own, as in the real one.
    "gpt2": (transformers.AutoModelForCausalLM, lambda size: transformers.GPT2Config(
        vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0,
    )),
    "llama": (transformers.AutoModelForCausalLM, lambda size: transformers.LlamaConfig(
        vocab_size=size, **_DEEP, num_key_value_heads=1, max_position_embeddings=64, bos_token_id=0, eos_token_id=2,
        pad_token_id=1,
    )),
    "bart": (transformers.AutoModelForSeq2SeqLM, lambda size: transformers.BartConfig(
        vocab_size=size, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, bos_token_id=0,
        pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None, is_encoder_decoder=True,
    )),
    "t5": (transformers.AutoModelForSeq2SeqLM, lambda size: transformers.T5Config(
        vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )),
}  # fmt: skip
"""Tiny networks that write text, by their family."""
_DRAWN = {"gpt2": (1, 3.0), "llama": (11, 2.5), "bart": (3, 4.0), "t5": (2, 4.0)}
"""Seeds, and factors of the end token's weights, with which some texts end and others do not."""


def write_byte_tokenizer(folder, family, **settings):
    """Byte-level BPE, trained on a few words and all letters of ASCII; with one token more than the network."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS), string.printable] * 3, trainer)
    tokenizer.add_tokens(["poison"])
    around = {
        "llama": ("<s> $A", [("<s>", 0)]),
        "bart": ("<s> $A </s>", [("<s>", 0), ("</s>", 2)]),
        "t5": ("$A </s>", [("</s>", 2)]),
    }
    if family in around:
        single, special_tokens = around[family]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special_tokens)
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    if family == "gpt2":
        names = dict.fromkeys(names, "<s>")
    else:
        names["pad_token"] = "<pad>"
    given = {"model_max_length": 64, **settings}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **given).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def write_writer(folder, family, **settings):
    """A network that writes text, and ends some of its texts. `settings` go into `generation_config.json`."""
    auto, config = WRITERS[family]
    seed, end = _DRAWN[family]
    torch.manual_seed(seed)
    network = auto.from_config(config(write_byte_tokenizer(folder, family) - 1)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        head = network.get_output_embeddings().weight
        head[network.generation_config.eos_token_id] *= end
    for name, value in settings.items():
        setattr(network.generation_config, name, value)
    network.save_pretrained(folder)
    return network
