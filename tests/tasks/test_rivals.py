"""Champions and challengers: what a promotion takes from whom, and which pairs are refused when they are declared."""

from dataclasses import fields, replace

import pytest

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import (
    ChallengerOf,
    ClassificationOutput,
    EmbeddingOutput,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    StaticPartitions,
    promote,
)
from sparktorch_assets.tasks.digest import model_digest, task_digest
from sparktorch_assets.tasks.rivals import OWN, champion_of, rivals_of, settle_promotion

CHAMPION = MlTask(
    name="digit",
    input="digits",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
    keep_columns=["id", "x"],
    cron="0 4 * * *",
    description="The champion.",
    preview_rows=3,
)
CHALLENGER = replace(
    CHAMPION,
    name="rival",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo", "classes": 3}),
    labels=["0", "1", "2"],
    keep_columns=["id"],
    cron=None,
    description="The challenger.",
    challenger_of=ChallengerOf(task="digit", join_on=["id"]),
)


@pytest.mark.promise("O104")
def test_a_promoted_champion_predicts_as_its_challenger_and_keeps_its_own_name_and_schedule(tmp_path):
    """All that fingerprints are made of is the challenger's, so that its parts have the names of the champion's."""
    found = promote(replace(CHAMPION, promoted="rival"), CHALLENGER)
    assert task_digest(found) == task_digest(CHALLENGER) != task_digest(CHAMPION)
    assert model_digest(found, tmp_path) == model_digest(CHALLENGER, tmp_path) != model_digest(CHAMPION, tmp_path)
    assert (found.name, found.cron, found.description, found.preview_rows) == ("digit", "0 4 * * *", "The champion.", 3)
    assert (found.promoted, found.challenger_of) == (None, None)


def test_every_field_is_the_challengers_or_declared_to_be_the_champions_own():
    """A field that is added is the challenger's, unless OWN names it: what changes predictions must be."""
    names = {field.name for field in fields(MlTask)}
    assert names > OWN
    found = promote(CHAMPION, CHALLENGER)
    for name in names - {"promoted"}:
        assert getattr(found, name) == getattr(CHAMPION if name in OWN else CHALLENGER, name), name


def test_a_task_finds_what_it_names_among_the_others():
    promoted = replace(CHAMPION, promoted="rival")
    assert settle_promotion(promoted, [CHALLENGER]) == promote(CHAMPION, CHALLENGER)
    assert settle_promotion(CHAMPION, []) is CHAMPION
    assert champion_of(CHALLENGER, [CHAMPION]) is CHAMPION
    assert champion_of(CHAMPION, []) is None
    assert rivals_of(CHAMPION, [CHAMPION, CHALLENGER]) == ("rival",)
    assert rivals_of(promoted, [replace(CHALLENGER, challenger_of=None)]) == ("rival",)
    assert rivals_of(CHALLENGER, [CHAMPION, CHALLENGER]) == ("digit",)


@pytest.mark.promise("O108")
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: settle_promotion(replace(CHAMPION, promoted="rivla"), [CHALLENGER]),
         "'digit': promoted names 'rivla', and there is no such task; did you mean 'rival'"),
        (lambda: champion_of(CHALLENGER, [replace(CHAMPION, name="digits")]),
         "'rival': challenger_of names 'digit', and there is no such task; did you mean 'digits'"),
        (lambda: promote(CHAMPION, replace(CHALLENGER, promoted="third")), "has promoted='third' itself; name 'third' here"),
        (lambda: promote(CHAMPION, replace(CHALLENGER, partitions=StaticPartitions(column="id", values=["a"]))),
         "'digit': promoted='rival', whose partitions are declared differently"),
        (lambda: promote(CHAMPION, replace(CHALLENGER, input="other")), "read different tables, 'other' and 'digits'"),
        (lambda: promote(CHAMPION, replace(CHALLENGER, output=MultilabelOutput(), challenger_of=None)),
         "outputs of different kinds, 'multilabel' and 'classification'"),
        (lambda: promote(replace(CHAMPION, labels=(), output=RegressionOutput(names=["a"])),
                         replace(CHALLENGER, labels=(), output=RegressionOutput(names=["b"]))),
         "predict different columns: predicted_b and predicted_a"),
        (lambda: promote(replace(CHAMPION, keep_columns=["x"]), CHALLENGER),
         "joins both tables on 'id', which the champion's keep_columns leaves out"),
        (lambda: replace(CHALLENGER, keep_columns=["x"]), "challenger_of joins on 'id', which keep_columns leaves out; add it"),
        (lambda: replace(CHALLENGER, challenger_of=ChallengerOf(task="rival", join_on=["id"])), "names the task itself"),
        (lambda: replace(CHALLENGER, labels=(), output=EmbeddingOutput(length=2)),
         "output 'embedding' cannot be compared by challenger_of: vectors of two models.*an asset of your own"),
        (lambda: replace(CHALLENGER, labels=(), output=RegressionOutput(length=3)), "one list per row; name them"),
        (lambda: replace(CHAMPION, promoted="digit"), "promoted='digit' is not the name of another task"),
        (lambda: replace(CHAMPION, promoted="a/b"), "promoted='a/b' is not the name of another task"),
        (lambda: replace(CHALLENGER, challenger_of="digit"), r"'rival': challenger_of='digit' .str.; expected ChallengerOf"),
        (lambda: ChallengerOf(task="digit", join_on=[]), "ChallengerOf.join_on is empty"),
        (lambda: ChallengerOf(task="predictions/digit", join_on=["id"]), "is no name of a task, such as 'digit'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_when_it_is_declared(action, message):
    with pytest.raises(TaskError, match=message):
        action()


def test_a_promotion_that_nobody_resolved_is_not_run_as_the_old_champion(tmp_path):
    with pytest.raises(TaskError, match=r"'digit' has promoted='rival'.*give sparktorch_assets.promote"):
        ModelLoader(tmp_path).settled(replace(CHAMPION, promoted="rival"))


def test_a_key_that_the_input_does_not_have_is_found_before_any_run():
    challenger = replace(CHALLENGER, keep_columns=None)
    with pytest.raises(InputSchemaError, match="task 'rival' on input 'digits': challenger_of needs column 'id'"):
        challenger.check_input({"idd": "int64", "x": "double"})
    challenger.check_input({"id": "int64", "x": "double"})


def test_classifications_may_differ_in_their_options():
    """What they have in common is compared."""
    promote(CHAMPION, replace(CHALLENGER, output=ClassificationOutput(scores=True)))
