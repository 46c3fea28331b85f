"""The sample networks keep their promises, the committed weights fit them, and the committed data is complete."""

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.samples.digits import DigitNet
from sparktorch_assets.samples.flights import FlightNet
from sparktorch_assets.samples.messages import MessageNet
from sparktorch_assets.tasks import ImageFeature, TextFeature

DATA = Path(__file__).parents[2] / "data"
MODELS = DATA / "models"
# Rounding differs with the batch's shape, because other kernels are chosen.
TOLERANCE = 1e-4


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def flight_net(task: str, classes: int = 2) -> nn.Module:
    vocabulary = read_json(MODELS / task / "vocabulary.json")
    sizes = [len(vocabulary[column]) for column in ("carrier", "origin", "dest")]
    return FlightNet(numeric_columns=4, vocabulary_sizes=sizes, classes=classes)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "digit": DigitNet,
    "digit_challenger": lambda: DigitNet(side=16, batch_norm=True, dropout=0.3),
    "late_arrival": lambda: flight_net("late_arrival"),
    "cancellation": lambda: flight_net("cancellation"),
    "arrival_delay": lambda: flight_net("arrival_delay", classes=1),
    "language": lambda: MessageNet(classes=98),
    "component": lambda: MessageNet(classes=12),
    "message_topics": lambda: MessageNet(classes=15),
}

OWN_MEASURES = {
    "arrival_delay": {"held_out_mean_absolute_error", "median_mean_absolute_error"},
    "message_topics": {"held_out_micro_f1", "held_out_exact_share"},
}
"""What the cards of models that predict other things than one class say."""


def weights_file(task: str) -> Path:
    (path,) = (path for path in (MODELS / task).iterdir() if path.suffix in {".pth", ".safetensors"})
    return path


def network(task: str) -> nn.Module:
    path = weights_file(task)
    built = NETWORKS[task]()
    if path.suffix == ".safetensors":
        built.load_state_dict(load_file(path), strict=True)
    else:
        built.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return built.eval()


@pytest.fixture(scope="module")
def language_net() -> nn.Module:
    return network("language")


def tokens(texts: list[bytes], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(texts), width, dtype=torch.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(list(text), dtype=torch.int64) + 1
    return ids, ids > 0


@settings(deadline=None)
@given(text=st.binary(max_size=40), padding=st.integers(0, 60), neighbours=st.lists(st.binary(max_size=40), max_size=3))
@torch.inference_mode()
def test_padding_and_neighbours_do_not_change_a_texts_logits(
    language_net: nn.Module, text: bytes, padding: int, neighbours: list[bytes]
) -> None:
    """A text gets the same logits alone and in a batch padded to any width."""
    alone = language_net(*tokens([text], len(text)))
    width = max(len(one) for one in (text, *neighbours)) + padding
    together = language_net(*tokens([text, *neighbours], width))
    torch.testing.assert_close(together[:1], alone, rtol=TOLERANCE, atol=TOLERANCE)


@torch.inference_mode()
def test_what_stands_under_the_mask_is_never_read(language_net: nn.Module) -> None:
    """Token ids where the mask is false do not matter."""
    ids, mask = tokens([b"Bonjour tout le monde", b"Hei"], 30)
    noise = torch.where(mask, ids, torch.full_like(ids, 200))
    torch.testing.assert_close(language_net(noise, mask), language_net(ids, mask), rtol=0, atol=0)


@torch.inference_mode()
def test_a_text_seen_through_the_encoder_is_told_alike_in_any_batch(language_net: nn.Module) -> None:
    """Through the serving encoder, batches of one and one batch of all give the same classes."""
    texts = ["Changer le mot de passe", "Passwort ändern", "", "Αλλαγή συνθηματικού " * 20, "パスワードの変更"]
    batch = pa.record_batch({"text": texts})
    encoded = make_encoder(TextFeature(column="text", fill=""), MODELS).encode(batch)
    together = language_net(*encoded.collate(np.arange(len(texts))))
    alone = torch.cat([language_net(*encoded.collate(np.array([row]))) for row in range(len(texts))])
    torch.testing.assert_close(alone, together, rtol=TOLERANCE, atol=TOLERANCE)
    labels = read_json(MODELS / "language" / "labels.json")
    assert [labels[index] for index in together.argmax(dim=1)[[0, 1, 3, 4]]] == ["fr", "de", "el", "ja"]


@pytest.mark.parametrize("task", NETWORKS)
def test_weights_fit_strictly_and_give_one_number_per_label(task: str) -> None:
    """Committed weights load with strict=True, and the output's width is the number of labels; a regression has none."""
    side = 16 if task == "digit_challenger" else 28
    inputs = {
        "digit": (torch.zeros(3, 1, side, side),),
        "late_arrival": (torch.ones(3, 4), torch.zeros(3, 3, dtype=torch.int64)),
        "language": tokens([b"a", b"bc", b""], 5),
    }
    inputs |= {"digit_challenger": inputs["digit"], "cancellation": inputs["late_arrival"]}
    inputs |= {"component": inputs["language"], "message_topics": inputs["language"]}
    inputs |= {"arrival_delay": inputs["late_arrival"]}
    with torch.inference_mode():
        logits = network(task)(*inputs[task])
    listed = MODELS / task / "labels.json"
    labels = read_json(listed) if listed.exists() else ["minutes"]
    assert logits.shape == (3, len(labels))
    assert len(set(labels)) == len(labels)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("task", NETWORKS)
def test_every_card_belongs_to_the_weights_beside_it(task: str) -> None:
    """A card names the digest of the file that it describes, and what one must know to judge the model."""
    card = read_json(MODELS / task / "card.json")
    assert card["weights_sha256"] == hashlib.sha256(weights_file(task).read_bytes()).hexdigest()
    measures = OWN_MEASURES.get(task, {"held_out_accuracy", "majority_class_accuracy"})
    assert {"held_out_rows", *measures, "split", "trained_on", "note"} <= card.keys()


def test_the_regression_is_declared_in_the_unit_of_its_card() -> None:
    """The scale and the offset that undo the training's normalization."""
    card = read_json(MODELS / "arrival_delay" / "card.json")
    declared = yaml.safe_load((DATA.parent / "sparktorch_assets/defs/arrival_delay/defs.yaml").read_text())[
        "attributes"
    ]
    assert (declared["output"]["scale"], declared["output"]["offset"]) == (card["output_scale"], card["output_offset"])


def test_the_topics_are_declared_in_the_order_of_the_logits() -> None:
    """As in the file of labels that was written with the weights."""
    path = DATA.parent / "sparktorch_assets/defs/message_topics/defs.yaml"
    declared = yaml.safe_load(path.read_text())["attributes"]
    assert declared["labels"] == read_json(MODELS / "message_topics" / "labels.json")


def test_an_image_of_another_size_is_refused_with_the_way_out() -> None:
    """The message tells both sizes and which setting to change."""
    with pytest.raises(ValueError, match=r"\(1, 16, 16\), found \(1, 28, 28\); set the image feature's height"):
        DigitNet(side=16)(torch.zeros(1, 1, 28, 28))


def test_numbers_are_standardised_by_what_the_weights_carry() -> None:
    """Shifting and scaling a column, its mean and its deviation together changes nothing."""
    net = FlightNet(numeric_columns=2, vocabulary_sizes=[3]).eval()
    x, c = torch.rand(5, 2), torch.zeros(5, 1, dtype=torch.int64)
    expected = net(x, c)
    net.load_state_dict(net.state_dict() | {"mean_F": torch.tensor([10.0, 0.0]), "std_F": torch.tensor([4.0, 1.0])})
    torch.testing.assert_close(net(torch.stack([x[:, 0] * 4 + 10, x[:, 1]], dim=1), c), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "side", "mean", "std", "accuracy"),
    [("digit", 28, 0.1307, 0.3081, 0.9986), ("digit_challenger", 16, 0.2469, 0.2989, 0.6566)],
)
def test_digit_models_reproduce_their_known_answer(
    task: str, side: int, mean: float, std: float, accuracy: float
) -> None:
    """Decoding, resizing, normalising and the network together give the pinned accuracy on the 5,000 rows."""
    (batch,) = pq.read_table(DATA / "digits" / "digits.parquet").combine_chunks().to_batches()
    feature = ImageFeature(column="image", height=side, width=side, channels=1, mean=(mean,), std=(std,))
    encoded = make_encoder(feature, MODELS).encode(batch)
    with torch.inference_mode():
        predicted = network(task)(*encoded.collate(np.arange(batch.num_rows))).argmax(dim=1)
    actual = torch.tensor([int(label) for label in batch["label"].to_pylist()])
    assert (predicted == actual).float().mean().item() == pytest.approx(accuracy, abs=2.1e-4)  # one image either way
    assert read_json(MODELS / task / "card.json")["known_answer_accuracy"] == accuracy


def test_flights_are_the_whole_year_once() -> None:
    """Twelve months, every row of the source exactly once, missing values as nulls."""
    files = sorted((DATA / "flights").glob("*.csv.gz"))
    assert [path.name for path in files] == [f"2013-{month:02d}.csv.gz" for month in range(1, 13)]
    flights = pa.concat_tables(pyarrow.csv.read_csv(path) for path in files)
    assert (flights.num_rows, flights.num_columns) == (336_776, 20)
    assert flights.column_names[0] == "flight_id"
    assert sorted(flights["flight_id"].to_pylist()) == list(range(336_776))
    assert (flights["dep_time"].null_count, flights["arr_delay"].null_count) == (8_255, 9_430)
    assert pc.sum(pc.equal(flights["tailnum"], "")).as_py() == 2_512
    assert pc.sum(pc.equal(flights["tailnum"], "NA")).as_py() == 0


def test_digits_are_balanced_in_every_row_group() -> None:
    """5,000 images in five row groups, every digit a hundred times in each."""
    file = pq.ParquetFile(DATA / "digits" / "digits.parquet")
    assert file.schema_arrow.types == [pa.int64(), pa.binary(), pa.string()]
    assert file.num_row_groups == 5
    for group in range(5):
        counts = pc.value_counts(file.read_row_group(group)["label"]).to_pylist()
        assert sorted((one["values"], one["counts"]) for one in counts) == [(str(digit), 100) for digit in range(10)]


def test_messages_are_complete() -> None:
    """34,942 texts of 12 characters and more, numbered in order, in 98 languages and 12 components."""
    messages = pyarrow.json.read_json(DATA / "messages" / "messages.jsonl.gz")
    assert messages["message_id"].to_pylist() == list(range(34_942))
    assert pc.min(pc.utf8_length(messages["text"])).as_py() == 12
    assert sorted(pc.unique(messages["language"]).to_pylist()) == read_json(MODELS / "language" / "labels.json")
    assert sorted(pc.unique(messages["component"]).to_pylist()) == read_json(MODELS / "component" / "labels.json")


def test_committed_samples_match_their_digests() -> None:
    """Every file in SHA256SUMS is present and unchanged; gzip headers carry no timestamp."""
    for line in (DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines():
        digest, name = line.split("  ")
        content = (DATA / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, name
        if name.endswith(".gz"):
            assert content[4:8] == bytes(4), name
            assert gzip.decompress(content).endswith(b"\n"), name
