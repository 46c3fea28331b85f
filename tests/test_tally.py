"""Tallies and receipts as JSON."""

import dataclasses
import json

import pytest
from call_count import calls

from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.tally import Tally


def tally(entries):
    """A tally with this many classes and buckets."""
    return Tally(
        rows=9,
        predicted=9,
        classes={f"class {number}": number for number in range(entries)},
        numbers={"score": NumberSummary(count=9, total=1.5, buckets={f"p{number}": 1 for number in range(entries)})},
        seconds={"forward": 0.25},
        agreement=0.5,
    )


def receipt(entries=7):
    return Receipt(fingerprint="f" * 64, rows=9, tally=tally(entries), nan_columns=("x",))


def as_stored_before():
    """What parts hold that were written when receipts were made with `dataclasses.asdict`."""
    found = receipt()
    plain = {
        "fingerprint": found.fingerprint,
        "rows": found.rows,
        "tally": dataclasses.asdict(found.tally),
        "nan_columns": list(found.nan_columns),
    }
    return json.dumps(plain, separators=(",", ":"))


@pytest.mark.promise("T145")
def test_receipts_are_stored_as_they_were():
    """To the letter, so that parts are understood by versions before and after this one."""
    assert receipt().to_json() == as_stored_before()
    assert Receipt.from_json(as_stored_before()) == receipt()


@pytest.mark.promise("T145")
def test_a_receipt_of_another_version_is_read():
    """What only that version has is left out, and what it lacks has its default."""
    plain = json.loads(as_stored_before())
    plain["tally"]["later"] = plain["tally"]["numbers"]["score"]["later"] = {"a": 1}
    assert Receipt.from_json(json.dumps(plain)) == receipt()
    for older in ("calibration_rows", "numbers", "agreement"):
        del plain["tally"][older]
    found = Receipt.from_json(json.dumps(plain)).tally
    assert found == dataclasses.replace(tally(7), numbers={}, agreement=None)


def test_what_is_done_to_plain_values_leaves_the_tally_alone():
    """A tally is copied by way of them before shares are subtracted."""
    found = tally(3)
    plain = found.to_plain()
    plain["classes"]["class 1"] = plain["numbers"]["score"]["buckets"]["p1"] = 100
    plain["numbers"]["other"] = plain["confidence_histogram"][0] = 7
    assert found == tally(3)


def test_a_receipt_costs_as_many_calls_whatever_its_number_of_classes_and_buckets():
    """A part's receipt is made for every shard, and a call for each key and number took longer than writing it."""
    small, large = receipt(10), receipt(1_000)
    assert calls(large.to_json) == calls(small.to_json)
    texts = small.to_json(), large.to_json()
    assert calls(lambda: Receipt.from_json(texts[1])) == calls(lambda: Receipt.from_json(texts[0]))
