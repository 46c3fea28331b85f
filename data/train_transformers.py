"""Train the sample's transformers on CPU, and write them as folders of transformers and sentence-transformers.

    python data/train_transformers.py                 # all: about four minutes on two cores
    python data/train_transformers.py language_bert

Two small encoders of interface texts, each with a tokenizer of its own: one for languages, and one for vectors. They are
saved as people save theirs, by `save_pretrained`, so that a task's declaration is four lines long. As in
`train_models.py`, whose held-out texts they share, seeds are fixed and each card states what was measured.

Shapes: N rows, B rows of a batch, T tokens, E components of a vector.
"""

import argparse
import os
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the vocabulary is the same in every run

import numpy as np
import torch
from torch import Tensor, nn
from train_models import (
    LOST_BYTE_SHARE,
    MODELS,
    SEED,
    THREADS,
    card_of,
    is_held_out,
    read_messages,
    weights_sha256,
    write_json,
)

VOCABULARY = 3000
MAX_TOKENS = 128
HIDDEN = 96
BATCH_ROWS = 128
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TEMPERATURE = 0.05
LANGUAGE_NOTE = (
    "A smaller and less accurate model than `language`, as BERTs want more texts than these; what the card of `language` "
    "says of regional variants holds here too."
)


def main() -> None:
    """Train the models named on the command line, or all."""
    models: dict[str, Callable[[], dict[str, Any]]] = {
        "language_bert": train_language,
        "message_embedding": train_embedding,
    }
    parser = argparse.ArgumentParser(description="Train the sample's transformers.")
    parser.add_argument("model", nargs="*", help=f"any of {', '.join(models)}; none: all")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    for model in parser.parse_args().model or models:
        torch.manual_seed(SEED)
        card = models[model]()
        write_json(MODELS / model / "card.json", card)
        print(model, {key: value for key, value in card.items() if not isinstance(value, str)}, flush=True)


def train_language() -> dict[str, Any]:
    """Which of 98 languages a text is written in: `BertForSequenceClassification`."""
    from transformers import BertForSequenceClassification

    messages = read_messages().to_pylist()
    labels = sorted({row["language"] for row in messages})
    numbers = {label: number for number, label in enumerate(labels)}
    y_N = torch.tensor([numbers[row["language"]] for row in messages])
    texts = Texts([row["text"] for row in messages])
    network: Any = BertForSequenceClassification(texts.config(id2label=dict(enumerate(labels)), label2id=numbers))

    def logits(ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        found: Tensor = network(input_ids=ids_BT, attention_mask=mask_BT.long()).logits
        return found

    def loss(ids_BT: Tensor, mask_BT: Tensor, rows: Tensor) -> Tensor:
        ids_BT = lose(ids_BT, mask_BT, texts, share=LOST_BYTE_SHARE)
        return nn.functional.cross_entropy(logits(ids_BT, mask_BT), y_N[rows])

    fit(network, texts, loss, epochs=8)
    save(network, texts, "language_bert")
    with torch.inference_mode():
        found = [
            (rows, logits(ids_BT, mask_BT).argmax(dim=1)) for ids_BT, mask_BT, rows in texts.batches(texts.held_out)
        ]
    measured = torch.cat([rows for rows, _ in found])
    predicted = torch.cat([answers for _, answers in found])
    card = card_of("language_bert", predicted.numpy(), y_N[measured].numpy())
    return card | told(texts) | {"note": LANGUAGE_NOTE}


def train_embedding() -> dict[str, Any]:
    """Vectors that lie close for similar texts: a Transformer, the mean of its tokens, and a normalization.

    Each text is to be nearest to itself with other tokens missing, among the texts of a batch (T. Gao, X. Yao, D. Chen:
    SimCSE, 2021, there with dropout instead of missing tokens).
    """
    from transformers import BertModel

    messages = read_messages().to_pylist()
    texts = Texts([row["text"] for row in messages])
    network = BertModel(texts.config(), add_pooling_layer=False)

    def loss(ids_BT: Tensor, mask_BT: Tensor, _rows: Tensor) -> Tensor:
        views = [pooled(network, lose(ids_BT, mask_BT, texts, share=0.2), mask_BT) for _ in range(2)]
        return nn.functional.cross_entropy(views[0] @ views[1].T / TEMPERATURE, torch.arange(len(ids_BT)))

    fit(network, texts, loss, epochs=3)
    save_sentence_transformer(network, texts)
    with torch.inference_mode():
        batches = list(texts.batches(texts.held_out))
        vectors_NE = torch.cat([pooled(network, ids_BT, mask_BT) for ids_BT, mask_BT, _ in batches])
    rows = torch.cat([rows for _, _, rows in batches])
    likeness_NN = (vectors_NE @ vectors_NE.T).fill_diagonal_(-1.0)
    nearest = likeness_NN.argmax(dim=1)
    of_row = [messages[int(row)] for row in rows]
    same = [
        [of_row[place][name] == of_row[int(other)][name] for place, other in enumerate(nearest)]
        for name in ("language", "component")
    ]
    return {
        "weights_sha256": weights_sha256("message_embedding"),
        "held_out_rows": len(texts.held_out),
        **told(texts),
        "held_out_nearest_of_same_language": round(float(np.mean(same[0])), 4),
        "held_out_nearest_of_same_component": round(float(np.mean(same[1])), 4),
        "note": "Trained without labels. The vectors know how a text is worded rather than what it means: the nearest "
        "text mostly shares words with it.",
    }


class Texts:
    """Tokenized texts, and a tokenizer that was trained on those that are not held out."""

    def __init__(self, texts: Sequence[str]) -> None:
        in_training = np.array([not is_held_out(text) for text in texts])
        self.training = torch.from_numpy(np.flatnonzero(in_training))
        self.held_out = torch.from_numpy(np.flatnonzero(~in_training))
        self.tokenizer = tokenizer(text for text, chosen in zip(texts, in_training, strict=True) if chosen)
        self.ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        self._lengths = torch.tensor([len(row) for row in self.ids])
        self._shuffle = random.Random(SEED)

    def batches(self, rows: Tensor, *, shuffled: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Token ids and masks (B, T) of texts of similar length, and their rows (B)."""
        by_length = rows[torch.argsort(self._lengths[rows], stable=True)]
        first = self._shuffle.randrange(1, BATCH_ROWS) if shuffled else BATCH_ROWS
        cuts = [0, *range(first, len(rows), BATCH_ROWS), len(rows)]
        batches = [by_length[start:stop] for start, stop in pairwise(cuts)]
        if shuffled:
            self._shuffle.shuffle(batches)
        for chosen in batches:
            ids_BT = nn.utils.rnn.pad_sequence([torch.tensor(self.ids[row]) for row in chosen], batch_first=True)
            yield ids_BT, torch.arange(ids_BT.shape[1]) < self._lengths[chosen][:, None], chosen

    def config(self, **given: Any) -> Any:
        """Two layers of a small BERT."""
        from transformers import BertConfig

        return BertConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * HIDDEN,
            max_position_embeddings=MAX_TOKENS,
            pad_token_id=0,
            **given,
        )


def tokenizer(texts: Iterator[str]) -> Any:
    """Byte-level BPE with BERT's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    found = Tokenizer(models.BPE(unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    places = [(token, found.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=places
    )
    pad, unknown, first, last = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=found,
        model_max_length=MAX_TOKENS,
        pad_token=pad,
        unk_token=unknown,
        cls_token=first,
        sep_token=last,
    )


def lose(ids_BT: Tensor, mask_BT: Tensor, texts: Texts, *, share: float) -> Tensor:
    """Some tokens become unknown, so that the network does not learn the training texts by heart."""
    lost_BT = (torch.rand(ids_BT.shape) < share) & mask_BT
    lost_BT[:, 0] = False
    return ids_BT.masked_fill(lost_BT, texts.tokenizer.unk_token_id)


def pooled(network: Any, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Vectors (B, E) of norm 1: the mean over a text's own tokens."""
    states_BTE = network(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
    mask_BT1 = mask_BT.unsqueeze(2)
    mean_BE = (states_BTE * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
    return nn.functional.normalize(mean_BE, dim=1)


def fit(network: nn.Module, texts: Texts, loss: Callable[[Tensor, Tensor, Tensor], Tensor], *, epochs: int) -> None:
    """AdamW with one rise and fall of the learning rate; leaves the network in eval mode, with its weights
    rounded to half precision, as they are saved to keep the repository small."""
    steps = epochs * (len(texts.training) // BATCH_ROWS + 3)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.15)
    network.train()
    for _ in range(epochs):
        for batch in texts.batches(texts.training, shuffled=True):
            optimizer.zero_grad()
            loss(*batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rates.step()
    network.eval().half().float()


def save(network: Any, texts: Texts, model: str) -> None:
    """A folder of transformers."""
    network.half().save_pretrained(MODELS / model)
    network.float()
    texts.tokenizer.save_pretrained(MODELS / model)


def save_sentence_transformer(network: Any, texts: Texts) -> None:
    """A folder of sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = MODELS / "message_embedding"
    save(network, texts, folder.name)
    transformer = Transformer(str(folder), max_seq_length=MAX_TOKENS)
    SentenceTransformer(modules=[transformer, Pooling(HIDDEN, "mean"), Normalize()]).half().save_pretrained(
        str(folder), create_model_card=False
    )


def told(texts: Texts) -> dict[str, Any]:
    """What every card says."""
    return {
        "split": "by text, as in the card of language",
        "trained_on": f"{len(texts.training)} texts of data/messages, their first {MAX_TOKENS} tokens",
    }


if __name__ == "__main__":
    main()
