"""Comparisons of whole tables: what each kind of output is compared by, which rows are matched, and what is refused."""

from dataclasses import replace

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st
from rival_tables import classes, compared, rivals, table

from sparktorch_assets.comparison import buckets
from sparktorch_assets.comparison.classes import mcnemar_p_value
from sparktorch_assets.comparison.compare import compare_predictions, drift
from sparktorch_assets.errors import InputSchemaError, TableError, TaskError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import ClassificationOutput, MultilabelOutput, RegressionOutput


@pytest.mark.promise("O100", "O101")
def test_classes_are_counted_in_pairs_and_held_against_the_truth(tmp_path):
    champion = classes([1, 2, 3, 4, 5], ["a", "a", "b", "c", None], truth=["a", "b", "b", None, "a"])
    challenger = classes([1, 2, 3, 4, 5], ["a", "b", "c", "c", "a"])
    found = compared(tmp_path, champion, challenger, rivals(truth="truth"))
    assert found.table.to_pylist() == [
        {"champion": one, "challenger": other, "rows": 1}
        for one, other in [("a", "a"), ("a", "b"), ("b", "c"), ("c", "c"), (None, "a")]
    ]
    assert {
        name: found.figures[name] for name in found.figures if not name.startswith(("class_share", "confidence"))
    } == {
        "agreement": 2 / 5,
        "disagreements": 2,
        "rows_with_truth": 4,
        "champion_accuracy": 2 / 4,
        "challenger_accuracy": 3 / 4,
        "only_champion_right": 1,
        "only_challenger_right": 2,
        "mcnemar_p_value": 1.0,
    }
    assert found.tables["agreement_by_class"].rows == [
        ("a", "2", "50.00%", "b: 1"),
        ("(failed)", "1", "0.00%", "a: 1"),
        ("b", "1", "0.00%", "c: 1"),
        ("c", "1", "100.00%", ""),
    ]


@pytest.mark.promise("O101")
def test_the_truth_of_either_task_counts_if_either_table_keeps_it(tmp_path):
    champion, challenger = rivals(truth="truth")
    told = (replace(champion, truth="truth"), replace(challenger, truth=None))
    with_truth, without = classes([1, 2], ["a", "b"], truth=["a", "a"]), classes([1, 2], ["a", "b"])
    kept = compared(tmp_path / "kept", without, with_truth, told)
    assert (kept.figures["rows_with_truth"], kept.figures["champion_accuracy"]) == (2, 1 / 2)
    left_out = compared(tmp_path / "left_out", without, without, told)
    assert "rows_with_truth" not in left_out.figures
    assert left_out.figures["agreement"] == 1.0


@pytest.mark.promise("O102")
def test_rows_of_one_table_alone_are_counted_and_left_out(tmp_path):
    found = compared(tmp_path, classes([1, 2, 3], ["a", "b", "c"]), classes([3, 4], ["c", "a"]), rivals())
    assert (found.rows, found.only_champion, found.only_challenger) == (1, 2, 1)
    assert found.figures["agreement"] == 1.0


@pytest.mark.promise("O103")
def test_the_surest_disagreements_are_shown_with_what_the_model_saw(tmp_path):
    """The lower of both confidences decides, so that one doubtful prediction is no strong disagreement."""
    ids, sure = [1, 2, 3, 4], [0.75, 0.25, 1.0, 1.0]
    champion = classes(ids, ["a", "a", "a", None], sure, x=[1.5, 2.5, 3.5, 4.5], secret=["s"] * 4)
    challenger = classes(ids, ["b", "b", "a", "a"], [0.5, 1.0, 1.0, 1.0])
    found = compared(tmp_path, champion, challenger, rivals(), files=2)
    assert found.disagreements == [
        {"x": 1.5, "id": 1, "champion predicted_class": "a", "challenger predicted_class": "b",
         "champion confidence": 0.75, "challenger confidence": 0.5},
        {"x": 2.5, "id": 2, "champion predicted_class": "a", "challenger predicted_class": "b",
         "champion confidence": 0.25, "challenger confidence": 1.0},
    ]  # fmt: skip


@pytest.mark.promise("O103")
@pytest.mark.parametrize("silent", [0, 1])
def test_no_row_is_shown_if_one_of_the_tasks_shows_none(tmp_path, silent):
    tasks = list(rivals())
    tasks[silent] = replace(tasks[silent], preview_rows=0)
    found = compared(tmp_path, classes([1], ["a"]), classes([1], ["b"]), tuple(tasks))
    assert (found.disagreements, found.figures["disagreements"]) == ([], 1)


@pytest.mark.promise("O100")
def test_numbers_are_compared_by_their_differences(tmp_path):
    task = {"output": RegressionOutput(), "labels": ()}
    champion = table(id=[1, 2, 3, 4], predicted_value=[1.0, 2.0, 3.0, None], truth=[1.0, 2.0, 5.0, 1.0])
    challenger = table(id=[1, 2, 3, 4], predicted_value=[1.0, 4.0, 4.0, 9.0])
    found = compared(tmp_path, champion, challenger, rivals(truth="truth", **task))
    assert found.figures == pytest.approx(
        {
            "mean_difference": 1.0,
            "mean_absolute_difference": 1.0,
            "root_mean_squared_difference": (5 / 3) ** 0.5,
            "largest_difference": 2.0,
            "correlation": 0.8660254,
            "champion_mean_absolute_error": 2 / 3,
            "champion_root_mean_squared_error": (4 / 3) ** 0.5,
            "challenger_mean_absolute_error": 11 / 4,
            "challenger_root_mean_squared_error": (69 / 4) ** 0.5,
        }
    )
    assert [row["id"] for row in found.disagreements] == [2, 3]
    (row,) = found.table.to_pylist()
    assert (row["column"], row["rows"], row["largest_difference"]) == ("predicted_value", 3, 2.0)


@pytest.mark.promise("O100")
def test_sets_of_labels_are_compared_by_what_they_share(tmp_path):
    labels = [["a", "b"], ["a"], [], ["c"], None]
    champion = table(id=[1, 2, 3, 4, 5], predicted_labels=labels, scores=[None] * 5)
    challenger = table(id=[1, 2, 3, 4, 5], predicted_labels=[["b", "a"], ["a", "b"], [], [], ["a"]], scores=[None] * 5)
    champion = champion.append_column("truth", pa.array(labels, pa.list_(pa.string())))
    found = compared(tmp_path, champion, challenger, rivals(truth="truth", output=MultilabelOutput()))
    assert found.figures == {"agreement": 2 / 5, "mean_overlap": (1 + 0.5 + 1 + 0) / 4, "disagreements": 2}
    assert [tuple(row.values()) for row in found.table.to_pylist()] == [("a", 2, 0, 0), ("b", 1, 0, 1), ("c", 0, 1, 0)]
    assert [row["id"] for row in found.disagreements] == [4, 2]


KEYS = st.lists(st.tuples(st.integers(-3, 30), st.sampled_from(["x", "é", ""])), unique=True, max_size=30)
CLASSES = st.sampled_from(["a", "b", None])


@given(st.dictionaries(st.tuples(st.integers(-3, 9), st.sampled_from(["x", "é", ""])), CLASSES, max_size=20),
       st.dictionaries(st.tuples(st.integers(-3, 9), st.sampled_from(["x", "é", ""])), CLASSES, max_size=20),
       st.integers(1, 7))  # fmt: skip
@pytest.mark.promise("O102")
def test_rows_are_matched_as_dictionaries_would_be(tmp_path_factory, one, other, count):
    """Whatever the number of buckets, with keys of two columns."""
    folder = tmp_path_factory.mktemp("tables")
    tables = [
        table(
            number=pa.array([key[0] for key in rows], pa.int64()), text=pa.array([key[1] for key in rows], pa.string()),
            predicted_class=list(rows.values()), confidence=[None] * len(rows),
        )
        for rows in (one, other)
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparktorch_assets.comparison.matched_rows.bucket_count", lambda _: count)
        found = compared(folder, *tables, rivals(join_on=("number", "text")))
    both = one.keys() & other.keys()
    assert (found.rows, found.only_champion, found.only_challenger) == (
        len(both),
        len(one) - len(both),
        len(other) - len(both),
    )
    pairs = {(row["champion"], row["challenger"]): row["rows"] for row in found.table.to_pylist()}
    expected = {}
    for key in both:
        pair = (one[key], other[key])
        expected[pair] = expected.get(pair, 0) + 1
    assert pairs == expected


@pytest.mark.parametrize(("rows", "count"), [(0, 1), (499_999, 1), (500_000, 2), (10**12, 256)])
def test_the_number_of_buckets_grows_with_the_rows_up_to_a_limit(rows, count):
    assert buckets.bucket_count(rows) == count


@pytest.mark.promise("O108")
@pytest.mark.parametrize(
    ("champion", "challenger", "tasks", "error", "message"),
    [
        (classes([1, 1], ["a", "a"]), classes([1], ["a"]), rivals(), TableError,
         r"predictions/champion: 1 rows or more have the key \(id\) of another row.*name columns in challenger_of.join_on"),
        (classes([1], ["a"]), classes([1, None], ["a", "a"]), rivals(), TableError,
         "predictions/challenger has rows without a value in 'id'"),
        (table(predicted_class=["a"], confidence=[1.0]), classes([1], ["a"]), rivals(), InputSchemaError,
         "predictions/champion has no column 'id', which the comparison needs.*keep_columns of both"),
        (classes(["1"], ["a"]), classes([1], ["a"]), rivals(), InputSchemaError,
         "'id', which is string in predictions/champion and int64 in predictions/challenger"),
        (classes([[1]], ["a"]), classes([[1]], ["a"]), rivals(), InputSchemaError, r"\(id\) cannot be a key"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_refused_with_the_way_out(tmp_path, champion, challenger, tasks, error, message):
    with pytest.raises(error, match=message):
        compared(tmp_path, champion, challenger, tasks)


def test_a_missing_table_is_an_error_that_names_the_asset(tmp_path):
    write_deltalake(str(tmp_path / "champion"), classes([1], ["a"]))
    with pytest.raises(TableError, match="predictions/challenger: there is no table at .*materialize it first"):
        compare_predictions(*rivals(), str(tmp_path / "champion"), str(tmp_path / "nothing"))


def test_tables_without_rows_agree_on_nothing(tmp_path):
    empty = classes(pa.array([], pa.int64()), [])
    found = compared(tmp_path, empty, empty, rivals())
    assert (found.rows, found.figures["agreement"], found.table.num_rows) == (0, 0.0, 0)


def test_prefixes_of_the_columns_may_differ(tmp_path):
    champion, challenger = rivals()
    renamed = classes([1, 2], ["a", "b"]).rename_columns(
        ["id", "p_predicted_class", "p_confidence", "p_prediction_error"]
    )
    tasks = replace(champion, output_prefix="p_"), challenger
    assert compared(tmp_path, renamed, classes([1, 2], ["a", "a"]), tasks).figures["agreement"] == 0.5


def test_tasks_over_different_inputs_are_not_compared(tmp_path):
    champion, challenger = rivals()
    with pytest.raises(TaskError, match="read different tables, 'events' and 'others'"):
        compare_predictions(replace(champion, input="others"), challenger, "x", "y")


@pytest.mark.promise("O101")
def test_the_drift_of_whole_tables_comes_from_their_receipts():
    """Equal tables have none; halves that changed class have a distance of a half."""
    one = Tally(rows=4, predicted=4, classes={"a": 2, "b": 2}, confidence_histogram=[4] + [0] * 19)
    other = Tally(rows=4, predicted=4, classes={"a": 4}, confidence_histogram=[0] * 19 + [4])
    assert drift(one, one) == {
        f"{name}_{measure}": 0.0 for name in ("class_share", "confidence") for measure in ("distance", "psi")
    }
    found = drift(other, one)
    assert (found["class_share_distance"], found["confidence_distance"]) == (0.5, 1.0)
    assert found["confidence_psi"] > found["class_share_psi"] > 0
    assert drift(Tally(), one) == {}


@pytest.mark.promise("O101")
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_the_chance_of_a_difference_is_a_symmetric_probability(one, other):
    found = mcnemar_p_value(one, other)
    assert 0 <= found <= 1
    assert found == mcnemar_p_value(other, one)
    assert mcnemar_p_value(one, one) == 1.0


def test_the_approximation_for_many_rows_continues_the_exact_value(monkeypatch):
    exact = mcnemar_p_value(520, 480)
    monkeypatch.setattr("sparktorch_assets.comparison.classes._EXACT", 0)
    assert mcnemar_p_value(520, 480) == pytest.approx(exact, abs=0.001)


def test_an_output_with_more_columns_is_compared_by_its_classes(tmp_path):
    found = compared(
        tmp_path, classes([1], ["a"]), classes([1], ["a"]), rivals(output=ClassificationOutput(scores=True))
    )
    assert found.figures["agreement"] == 1.0


def test_true_numbers_beyond_those_that_a_double_holds_exactly_are_rounded(tmp_path):
    truth = [2**60 + 1, 4]
    champion = table(id=[1, 2], predicted_value=[float(truth[0]), 3.0], truth=truth)
    found = compared(
        tmp_path, champion, champion.drop_columns("truth"), rivals("truth", output=RegressionOutput(), labels=())
    )
    assert found.figures["champion_mean_absolute_error"] == 0.5
