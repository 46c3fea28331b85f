"""Train the sample models on CPU and write their weights, vocabularies, labels and cards to data/models/.

    python data/train_models.py                       # all: about two minutes on two cores
    python data/train_models.py language component

Features are encoded by the encoders that predict with the models later, so that the two cannot drift apart. Each card
states which rows were held out and what was measured on them. Seeds are fixed: on one machine a rerun gives the same
weights; another CPU or torch build may round differently. The project must be installed and the samples
exist (make_samples.py). The two digit models come with their weights: only their labels and cards are written here.

Shapes: N rows, B rows of a batch, F numeric columns, K categorical columns, T tokens, O classes.
"""

import argparse
import functools
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import torch
from safetensors.torch import save
from torch import Tensor, nn

from sparktorch_assets.predict.encode.encoded import EncodedFeature
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.samples.digits import DigitNet
from sparktorch_assets.samples.flights import FlightNet
from sparktorch_assets.samples.messages import MessageNet
from sparktorch_assets.tasks import CategoricalFeature, Feature, ImageFeature, NumericFeature, TextFeature

DATA = Path(__file__).parent
MODELS = DATA / "models"
SEED = 2013
THREADS = 2
MEASURED_BATCH_ROWS = 256

# Only what is known before departure. A missing tail number gives cancellations away, delays give everything away; the
# month is left out because a year shows each month once: it would name the held-out rows, not their season.
NUMERIC = ("hour", "minute", "sched_arr_time", "distance")
CATEGORICAL = ("carrier", "origin", "dest")
LAST_TRAINING_MONTH = 9
LATE_MINUTES = 15
UNKNOWN_SHARE = 0.01

TEXT = TextFeature(column="text", max_tokens=256)
COMPONENT_LANGUAGE = "fr"
ONE_HELD_OUT_OF = 5
LOST_BYTE_SHARE = 1 / 12

Rows = npt.NDArray[np.int64]
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Encoded rows and their answers."""

    features: list[EncodedFeature]
    y_N: Tensor  # noqa: N815
    """Label indices, int64, or numbers, float32."""
    training: Rows
    held_out: Rows

    def inputs(self, rows: Rows) -> Inputs:
        """The network's positional arguments for these rows."""
        return tuple(tensor for feature in self.features for tensor in feature.collate(rows))


def main() -> None:
    """Train the tasks named on the command line, or all."""
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "digit": measure_digit,
        "digit_challenger": measure_digit_challenger,
        "late_arrival": train_late_arrival,
        "cancellation": train_cancellation,
        "arrival_delay": train_arrival_delay,
        "language": train_language,
        "component": train_component,
        "message_topics": train_topics,
    }
    parser = argparse.ArgumentParser(description="Train the sample models.")
    parser.add_argument("task", nargs="*", help=f"any of {', '.join(tasks)}; none: all")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    for task in parser.parse_args().task or tasks:
        torch.manual_seed(SEED)
        card = tasks[task]()
        write_json(MODELS / task / "card.json", card)
        print(task, {key: value for key, value in card.items() if not isinstance(value, str)}, flush=True)


# Flights


def train_late_arrival() -> dict[str, Any]:
    """More than 15 minutes late at arrival, or not; flights that never arrived as planned have no answer."""
    flights = read_flights()
    flights = flights.filter(pc.is_valid(flights["arr_delay"]))
    late = pc.greater(flights["arr_delay"], LATE_MINUTES)
    card = train_flights("late_arrival", flights, late, ("on_time", "late"), equal_classes=False)
    return card | {
        "note": "Only the timetable is used, which says little about a day's delays: read the ROC AUC. The confidence "
        "is a probability as trained, hence 'late' is predicted rarely, and accuracy stays near the majority class's. "
        "Rows without arr_delay (cancelled or diverted) are left out of training and of these numbers."
    }


def train_cancellation() -> dict[str, Any]:
    """Cancelled, or flown."""
    flights = read_flights()
    cancelled = pc.is_null(flights["dep_time"])
    card = train_flights("cancellation", flights, cancelled, ("flown", "cancelled"), equal_classes=True)
    return card | {
        "note": "About one flight in forty is cancelled, so accuracy says nothing here (always answering 'flown' would "
        "win): read the ROC AUC. In training both classes weigh the same in total: 'cancelled' means likelier than "
        "usual, and the confidence is no probability of cancellation."
    }


def train_flights(
    task: str, flights: pa.Table, positive: pa.ChunkedArray, labels: Sequence[str], *, equal_classes: bool
) -> dict[str, Any]:
    """Train on the year's first nine months, measure on the last three."""
    examples, network = flight_examples(task, flights, positive.to_numpy().astype(np.int64), classes=len(labels))
    share = examples.y_N[examples.training].float().mean()
    class_weights_O = torch.stack([0.5 / (1 - share), 0.5 / share]) if equal_classes else None
    loss = nn.CrossEntropyLoss(weight=class_weights_O)
    fit(network, functools.partial(flight_epoch, examples), epochs=4, peak_learning_rate=4e-3, loss=loss)
    write_model(task, network, labels)
    p_NO = probabilities(network, examples)
    predicted, actual = p_NO.argmax(axis=1), examples.y_N[examples.held_out].numpy()
    recalls = [(predicted[actual == index] == index).mean() for index in range(len(labels))]
    return card_of(task, predicted, actual) | {
        "held_out_roc_auc": round(roc_auc(p_NO[:, 1], actual), 4),
        "held_out_balanced_accuracy": round(float(np.mean(recalls)), 4),
        "held_out_predicted_share": {label: round(float((predicted == i).mean()), 4) for i, label in enumerate(labels)},
        "split": "by time: months 1 to 9 of 2013 for training, months 10 to 12 held out",
        "trained_on": f"{len(examples.training)} flights of data/flights, columns {', '.join((*NUMERIC, *CATEGORICAL))}",
    }


def train_arrival_delay() -> dict[str, Any]:
    """Minutes by which a flight arrives late; negative if it is early."""
    flights = read_flights()
    flights = flights.filter(pc.is_valid(flights["arr_delay"]))
    delays = flights["arr_delay"].to_numpy().astype(np.float32)
    examples, network = flight_examples("arrival_delay", flights, delays, classes=1)
    known = examples.y_N[examples.training]
    center, spread = known.median(), known.std()

    def loss(output_B1: Tensor, y_B: Tensor) -> Tensor:
        return nn.functional.l1_loss(output_B1[:, 0], (y_B - center) / spread)

    fit(network, functools.partial(flight_epoch, examples), epochs=4, peak_learning_rate=4e-3, loss=loss)
    write_model("arrival_delay", network, ())
    scale, offset = round(float(spread), 4), float(center)
    actual = examples.y_N[examples.held_out].numpy()
    predicted = outputs(network, examples)[:, 0] * scale + offset
    return {
        "weights_sha256": weights_sha256("arrival_delay"),
        "held_out_rows": len(actual),
        "held_out_mean_absolute_error": round(float(np.abs(predicted - actual).mean()), 4),
        "median_mean_absolute_error": round(float(np.abs(offset - actual).mean()), 4),
        "held_out_rank_correlation": round(rank_correlation(predicted, actual), 4),
        "output_scale": scale,
        "output_offset": offset,
        "split": "by time: months 1 to 9 of 2013 for training, months 10 to 12 held out",
        "trained_on": f"{len(examples.training)} flights of data/flights, columns {', '.join((*NUMERIC, *CATEGORICAL))}",
        "note": "Only the timetable is used, which says little about a day's delays. The network is trained for the "
        "absolute error, so it predicts medians: most flights are a few minutes early, and a few are hours late. "
        "median_mean_absolute_error is the error of answering every flight with the training rows' median.",
    }


def flight_examples(
    task: str, flights: pa.Table, answers: npt.NDArray[Any], *, classes: int
) -> tuple[Examples, FlightNet]:
    """The flights' rows, and a network that knows the training rows' means and standard deviations."""
    in_training = pc.less_equal(flights["month"], LAST_TRAINING_MONTH)
    training_flights = flights.filter(in_training)
    vocabulary = {column: sorted(pc.unique(training_flights[column]).to_pylist()) for column in CATEGORICAL}
    write_json(MODELS / task / "vocabulary.json", vocabulary)
    examples = encode(
        flights,
        (
            NumericFeature(columns=NUMERIC),
            CategoricalFeature(columns=CATEGORICAL, vocabulary=f"{task}/vocabulary.json"),
        ),
        answers,
        in_training.to_numpy(),
    )
    sizes = [len(vocabulary[name]) for name in CATEGORICAL]
    network = FlightNet(numeric_columns=len(NUMERIC), vocabulary_sizes=sizes, classes=classes)
    x_NF = examples.inputs(examples.training)[0]
    network.mean_F.copy_(x_NF.mean(dim=0))
    network.std_F.copy_(x_NF.std(dim=0))
    return examples, network


def flight_epoch(examples: Examples) -> Iterable[tuple[Inputs, Tensor]]:
    """The training rows in batches, in random order."""
    shuffled = examples.training[torch.randperm(len(examples.training)).numpy()]
    for rows in np.array_split(shuffled, len(shuffled) // 1024):
        x_BF, c_BK = examples.inputs(rows)
        # A few values become unknown, so that index 0 is trained too.
        unknown_BK = torch.rand(c_BK.shape) < UNKNOWN_SHARE
        yield (x_BF, c_BK.masked_fill(unknown_BK, 0)), examples.y_N[rows]


def read_flights() -> pa.Table:
    """The year's flights, in the order of the months' files."""
    return pa.concat_tables(pyarrow.csv.read_csv(path) for path in sorted((DATA / "flights").glob("*.csv.gz")))


# Messages


def train_language() -> dict[str, Any]:
    """Which of 98 languages an interface text is written in."""
    card, predicted, actual = train_messages(
        "language", read_messages(), batch_rows=128, epochs=7, peak_learning_rate=4e-3
    )
    without_region = [(found.split("_")[0], true.split("_")[0]) for found, true in zip(predicted, actual, strict=True)]
    chosen_predicted, chosen_actual = predicted == COMPONENT_LANGUAGE, actual == COMPONENT_LANGUAGE
    return card | {
        "held_out_accuracy_without_region": round(float(np.mean([found == true for found, true in without_region])), 4),
        f"held_out_{COMPONENT_LANGUAGE}_recall": round(float(chosen_predicted[chosen_actual].mean()), 4),
        f"held_out_{COMPONENT_LANGUAGE}_precision": round(float(chosen_actual[chosen_predicted].mean()), 4),
        "note": "Many texts are the same in several languages, above all in regional variants (es, es_AR, es_MX; ar, "
        "ar_DZ; pt, pt_BR; en_AU, en_GB): nothing can tell those apart. held_out_accuracy_without_region counts es_AR "
        "for es as right. A few settings were compared on the held-out rows, which flatters the numbers slightly.",
    }


def train_component() -> dict[str, Any]:
    """Which part of Django a French interface text belongs to."""
    messages = read_messages()
    messages = messages.filter(pc.equal(messages["language"], COMPONENT_LANGUAGE))
    card, _, _ = train_messages("component", messages, batch_rows=32, epochs=30, peak_learning_rate=3e-3)
    return card | {
        "language": COMPONENT_LANGUAGE,
        "note": f"Trained on texts in '{COMPONENT_LANGUAGE}' alone: an answer for another language means nothing. Some "
        "components have a handful of texts, and about a hundred are held out: the accuracy is known to some four "
        "points either way. A few settings were compared on them, which flatters the number slightly.",
    }


def train_topics() -> dict[str, Any]:
    """Which components a text belongs to, and what it contains: any number of labels per text."""
    messages = read_messages()
    components: dict[str, set[str]] = {}
    for row in messages.to_pylist():
        components.setdefault(row["text"], set()).add(row["component"])
    topics = [components[text] | contents_of(text) for text in messages["text"].to_pylist()]
    labels = sorted(set().union(*topics))
    answers = np.array([[label in found for label in labels] for found in topics], dtype=np.float32)
    examples = text_examples(messages, answers)
    network = MessageNet(classes=len(labels))

    def loss(logits_BO: Tensor, y_BO: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits_BO, y_BO, reduction="sum") / len(y_BO)

    fit(network, text_epochs(examples, 128), epochs=7, peak_learning_rate=4e-3, loss=loss)
    write_model("message_topics", network, labels)
    found_NO, true_NO = outputs(network, examples) > 0, answers[examples.held_out] > 0
    return {
        "weights_sha256": weights_sha256("message_topics"),
        "held_out_rows": len(found_NO),
        "held_out_micro_f1": round(float(2 * (found_NO & true_NO).sum() / (found_NO.sum() + true_NO.sum())), 4),
        "held_out_exact_share": round(float((found_NO == true_NO).all(axis=1).mean()), 4),
        **texts_of_card(examples),
        "note": "The labels are the components of Django in which a text occurs, in whatever language, and what it "
        "contains: a placeholder, markup, or a question. Few texts are in more than one component.",
    }


def contents_of(text: str) -> set[str]:
    """What a text contains besides words."""
    there = {
        "placeholder": any(mark in text for mark in ("%(", "%s", "%d", "{")),
        "markup": "<" in text and ">" in text,
        "question": text.rstrip().endswith(("?", chr(0xFF1F), chr(0x61F))),  # also full-width, and Arabic
    }
    return {name for name, found in there.items() if found}


def train_messages(
    task: str, messages: pa.Table, *, batch_rows: int, epochs: int, peak_learning_rate: float
) -> tuple[dict[str, Any], npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Train on four fifths of the texts, measure on the fifth that their hash sets apart.

    Returns:
        The card, and the predicted and the true labels of the held-out rows.
    """
    labels = sorted(pc.unique(messages[task]).to_pylist())
    answers = pc.index_in(messages[task], value_set=pa.array(labels)).to_numpy().astype(np.int64)
    examples = text_examples(messages, answers)
    network = MessageNet(classes=len(labels))
    fit(
        network,
        text_epochs(examples, batch_rows),
        epochs=epochs,
        peak_learning_rate=peak_learning_rate,
        loss=nn.functional.cross_entropy,
    )
    write_model(task, network, labels)
    predicted, actual = probabilities(network, examples).argmax(axis=1), answers[examples.held_out]
    card = card_of(task, predicted, actual) | texts_of_card(examples)
    return card, np.array(labels)[predicted], np.array(labels)[actual]


def text_examples(messages: pa.Table, answers: npt.NDArray[Any]) -> Examples:
    """The encoded texts; a fifth of them, which their hashes set apart, is held out."""
    in_training = np.array([not is_held_out(text) for text in messages["text"].to_pylist()])
    return encode(messages, (TEXT,), answers, in_training)


def text_epochs(examples: Examples, batch_rows: int) -> Callable[[], Iterable[tuple[Inputs, Tensor]]]:
    """A function that gives the training texts in batches of similar length, in random order."""
    lengths_N = examples.features[0].lengths_N
    assert lengths_N is not None
    by_length = examples.training[np.argsort(lengths_N[examples.training], kind="stable")]
    shuffle = random.Random(SEED)

    def epoch() -> Iterable[tuple[Inputs, Tensor]]:
        # Texts of like length share a batch, so that little is padded; where the cuts fall varies, and the order.
        cuts = [0, *range(shuffle.randrange(1, batch_rows), len(by_length), batch_rows), len(by_length)]
        batches = [by_length[start:stop] for start, stop in pairwise(cuts)]
        shuffle.shuffle(batches)
        for rows in batches:
            token_ids_BT, mask_BT = examples.inputs(rows)
            # Some bytes are blanked out: without that, the network learns the training texts by heart.
            lost_BT = torch.rand(token_ids_BT.shape) < LOST_BYTE_SHARE
            yield (token_ids_BT.masked_fill(lost_BT, 0), mask_BT), examples.y_N[rows]

    return epoch


def texts_of_card(examples: Examples) -> dict[str, str]:
    """What the cards of all text models say."""
    return {
        "split": f"by text: held out where the first 8 bytes of sha256(text), big-endian, are divisible by "
        f"{ONE_HELD_OUT_OF}; equal texts fall on the same side",
        "trained_on": f"{len(examples.training)} texts of data/messages, their first {TEXT.max_tokens} bytes",
    }


def read_messages() -> pa.Table:
    """The interface texts, in file order."""
    return pyarrow.json.read_json(DATA / "messages" / "messages.jsonl.gz")


def is_held_out(text: str) -> bool:
    """Whether a text is kept from training, in whatever language or component it occurs."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % ONE_HELD_OUT_OF == 0


# Digits


def measure_digit() -> dict[str, Any]:
    """The pretrained MNIST model on the sample rows."""
    image = ImageFeature(column="image", height=28, width=28, channels=1, mean=(0.1307,), std=(0.3081,))
    card = measure_digits("digit", "mnist.pth", DigitNet(), image)
    # The rows probably overlap what the model was trained on: nothing is known to be held out.
    return card | {
        "held_out_rows": 0,
        "held_out_accuracy": None,
        "trained_on": "MNIST's training set, by the authors of ccexam",
        "note": "A known answer, no claim of quality: the 5,000 rows are MNIST's own and probably overlap what the "
        "model was trained on. A run that does not reproduce known_answer_accuracy is broken.",
    }


def measure_digit_challenger() -> dict[str, Any]:
    """The pretrained USPS model on the sample rows."""
    image = ImageFeature(column="image", height=16, width=16, channels=1, mean=(0.2469,), std=(0.2989,))
    card = measure_digits("digit_challenger", "usps.pth", DigitNet(side=16, batch_norm=True, dropout=0.3), image)
    return card | {
        "trained_on": "USPS's training set, by the authors of ccexam",
        "note": "A weak challenger: it learned another collection's digits at 16 x 16, and sees these for the first "
        "time, made smaller (bilinear). A known answer too: a run that does not reproduce it is broken.",
    }


def measure_digits(task: str, weights: str, network: DigitNet, image: ImageFeature) -> dict[str, Any]:
    """The accuracy on all 5,000 rows."""
    network.load_state_dict(torch.load(MODELS / task / weights, map_location="cpu", weights_only=True))
    labels = [str(digit) for digit in range(10)]
    digits = pq.read_table(DATA / "digits" / "digits.parquet")
    answers = pc.index_in(digits["label"], value_set=pa.array(labels)).to_numpy().astype(np.int64)
    examples = encode(digits, (image,), answers, np.zeros(len(answers), dtype=bool))
    predicted = probabilities(network.eval(), examples).argmax(axis=1)
    write_json(MODELS / task / "labels.json", labels)
    card = card_of(task, predicted, answers)
    return card | {
        "known_answer_rows": len(answers),
        "known_answer_accuracy": card["held_out_accuracy"],
        "split": "none: the weights came trained, all 5,000 rows are measured",
    }


# What all share


def encode(
    table: pa.Table, features: Sequence[Feature], answers: npt.NDArray[Any], in_training: npt.NDArray[np.bool_]
) -> Examples:
    """The table's rows through the encoders that also serve predictions."""
    (batch,) = table.combine_chunks().to_batches()
    return Examples(
        features=[make_encoder(feature, MODELS).encode(batch) for feature in features],
        y_N=torch.from_numpy(answers),
        training=np.flatnonzero(in_training),
        held_out=np.flatnonzero(~in_training),
    )


def fit(
    network: nn.Module,
    epoch: Callable[[], Iterable[tuple[Inputs, Tensor]]],
    *,
    epochs: int,
    peak_learning_rate: float,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """AdamW with one rise and fall of the learning rate; leaves the network in eval mode."""
    steps = epochs * sum(1 for _ in epoch())
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    # Epochs may differ by a batch, as cuts move: one step of slack an epoch.
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak_learning_rate, total_steps=steps + epochs, pct_start=0.15
    )
    network.train()
    for _ in range(epochs):
        for inputs, y_B in epoch():
            optimizer.zero_grad()
            loss(network(*inputs), y_B).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
    network.eval()


@torch.inference_mode()
def outputs(network: nn.Module, examples: Examples) -> npt.NDArray[np.float32]:
    """What the network gives for the held-out rows (N, O), in order."""
    batches = np.array_split(examples.held_out, -(-len(examples.held_out) // MEASURED_BATCH_ROWS))
    return np.concatenate([network(*examples.inputs(rows)).numpy() for rows in batches])


def probabilities(network: nn.Module, examples: Examples) -> npt.NDArray[np.float32]:
    """Softmax (N, O) of the held-out rows, in order."""
    return torch.from_numpy(outputs(network, examples)).softmax(dim=1).numpy()


def roc_auc(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.int64]) -> float:
    """The chance that a random positive row outranks a random negative one; ties count half.

    >>> roc_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1]))
    0.875
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = int(positive.sum())
    above = rank[positive == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(positive) - positives)))


def rank_correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Spearman's rank correlation; ties get their mean rank.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([5.0, 7.0, 9.0]))
    1.0
    """
    ranks = []
    for values in (one, other):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def card_of(task: str, predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The numbers of every card; the majority class is the most frequent one among the measured rows."""
    ((_, majority_rows),) = Counter(actual.tolist()).most_common(1)
    return {
        "weights_sha256": weights_sha256(task),
        "held_out_rows": len(actual),
        "held_out_accuracy": round(float((predicted == actual).mean()), 4),
        "majority_class_accuracy": round(majority_rows / len(actual), 4),
    }


def weights_sha256(task: str) -> str:
    """The digest of the task's weights."""
    (weights,) = (path for path in (MODELS / task).iterdir() if path.suffix in {".pth", ".safetensors"})
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def write_model(task: str, network: nn.Module, labels: Sequence[str]) -> None:
    """The weights and, if there are any, the labels in the order of the logits."""
    (MODELS / task).mkdir(parents=True, exist_ok=True)
    (MODELS / task / "model.safetensors").write_bytes(save(network.state_dict()))
    if labels:
        write_json(MODELS / task / "labels.json", labels)


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, as people read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
