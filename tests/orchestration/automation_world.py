"""A small world for automation: an input E, a model M and predictions P, on a clock that tests move.

E and P run as real Dagster runs, so that Dagster itself records versions, checks and what is in progress. What happens
*while* one runs is done by the body of its asset.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from sparktorch_assets.orchestration.automation.schedules import staleness_condition

E, M, P = dg.AssetKey("events"), dg.AssetKey(["models", "sample"]), dg.AssetKey(["predictions", "sample"])
TICK = dt.timedelta(seconds=30)
QUIETLY = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Meanwhile = Callable[[], Any]


def nothing() -> None: ...


class World:
    """Its attributes are the truth; what Dagster knows of it is in `instance`."""

    def __init__(self, instance: dg.DagsterInstance, condition: Callable[[], Any] = staleness_condition) -> None:
        self.instance = instance
        self.condition = condition
        self.now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
        self.cursor: Any = None
        self.code = "1"
        self.checked = True
        """Whether E has a blocking check; to be set before anything runs."""
        self._locations: dict[str, dg.Definitions] = {}
        self._meanwhile: Meanwhile = nothing
        self._outcome = "ok"
        self._error: BaseException | None = None
        self._version = ""
        self._passes = True

    @property
    def location(self) -> dg.Definitions:
        """The code location as it is deployed now."""
        if self.code not in self._locations:
            self._locations[self.code] = self._deployed(self.code)
        return self._locations[self.code]

    def _deployed(self, code: str) -> dg.Definitions:
        checks = [dg.AssetCheckSpec("whole", asset=E, blocking=True)] if self.checked else []

        @dg.multi_asset(specs=[dg.AssetSpec(E)], check_specs=checks, name="read")
        def read() -> Any:
            self._happen()
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(self._version),
                check_results=[dg.AssetCheckResult(passed=self._passes, check_name=check.name) for check in checks],
            )

        @dg.asset(key=M)
        def model() -> None: ...

        @dg.asset(key=P, deps=[E, M], code_version=code, automation_condition=self.condition())
        def predict() -> dg.MaterializeResult[None]:
            self._happen()
            return dg.MaterializeResult(data_version=dg.DataVersion("always the same"))

        return dg.Definitions(assets=[read, model, predict])

    def _happen(self) -> None:
        meanwhile, outcome, self._meanwhile, self._outcome = self._meanwhile, self._outcome, nothing, "ok"
        version, passes = self._version, self._passes
        try:
            meanwhile()
        except BaseException as error:  # what a test asserts must not end as a run that failed
            self._error = error
            raise
        self._version, self._passes = version, passes
        if outcome == "fail":
            raise RuntimeError("fails on purpose")
        if outcome == "cancel":
            raise DagsterExecutionInterruptedError

    def run(
        self,
        key: dg.AssetKey,
        outcome: str = "ok",
        meanwhile: Meanwhile = nothing,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """A run of one asset that ends with `outcome`: `ok`, `fail` or `cancel`."""
        self._meanwhile, self._outcome = meanwhile, outcome
        try:
            self.location.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=self.instance, asset_selection=[key], raise_on_error=False, run_config=QUIETLY, tags=tags
            )
        except DagsterExecutionInterruptedError:
            assert outcome == "cancel"
        if self._error is not None:
            raise self._error

    def read(self, version: str, *, passes: bool = True, outcome: str = "ok", meanwhile: Meanwhile = nothing) -> None:
        """A run of E that finds `version`."""
        self._version, self._passes = version, passes
        self.run(E, outcome, meanwhile)

    def train(self, version: str) -> None:
        """M has the weights `version` from now on."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(M, tags={"dagster/data_version": version}))

    def predict(self, outcome: str = "ok", meanwhile: Meanwhile = nothing) -> None:
        """A run of P."""
        self.run(P, outcome, meanwhile)

    def wipe(self) -> None:
        """Dagster forgets that P was ever made."""
        self.instance.wipe_assets([P])

    def tick(self, later: dt.timedelta = TICK) -> bool:
        """Whether automation requests P at its next evaluation."""
        self.now += later
        result = dg.evaluate_automation_conditions(
            self.location, instance=self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor = result.cursor
        return bool(result.get_num_requested(P))

    def ticks(self, count: int = 3) -> list[bool]:
        """Several ticks in a row, in which nothing else happens."""
        return [self.tick() for _ in range(count)]
