"""A few drawn histories, the same ones in every run; `make fuzz` runs new ones."""

import pytest
from fuzz_machine import FuzzMachine
from hypothesis import HealthCheck, Phase, settings

TestFuzz = pytest.mark.slow(FuzzMachine.TestCase)
TestFuzz.settings = settings(
    max_examples=10,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),  # a history takes seconds: the long run shrinks what it finds
)
