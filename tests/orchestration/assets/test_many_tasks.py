"""What a code location costs grows with its tasks, and no faster."""

from call_count import calls
from orchestration_fakes import a_task

from sparktorch_assets.orchestration.assets.factory import build_prediction_definitions


def calls_for(number):
    """The function calls that build the definitions of this many tasks, each of which knows of the others, as those of
    components do."""
    tasks = [a_task(name=f"t{index}") for index in range(number)]
    return calls(lambda: [build_prediction_definitions([task], others=tasks) for task in tasks])


def test_definitions_of_twice_as_many_tasks_take_twice_the_calls():
    """An exponent of at most 1.1."""
    calls_for(2)  # what is found once per process
    assert calls_for(32) <= calls_for(16) * 2**1.1
