"""The world of `automation_world`, where the input E and the predictions P have partitions, and the model M has none."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from automation_world import TICK, E, M, Meanwhile, P, World, nothing

from sparktorch_assets.orchestration.automation.partition_versions import record_made_from
from sparktorch_assets.orchestration.automation.schedules import staleness_condition

MONTHS = dg.StaticPartitionsDefinition(["jan", "feb", "mar"])
ONE_RUN = dg.BackfillPolicy.single_run()
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class PartitionedWorld(World):
    """Runs are of one partition, or of a range of partitions: of the first and last that are named."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        condition: Callable[[], Any] = staleness_condition,
        *,
        partitions: dg.PartitionsDefinition = MONTHS,
        upstream: dg.PartitionsDefinition | None = None,
        mapping: dg.PartitionMapping | None = None,
    ) -> None:
        super().__init__(instance, condition)
        self.partitions = partitions
        self.upstream = upstream or partitions
        self.mapping = mapping
        self.records = True
        """Whether P says what it was made from."""
        self.made: list[list[str]] = []
        """The partitions of each run of P that ended well."""
        self._versions: Mapping[str, str] = {}

    def _deployed(self, code: str) -> dg.Definitions:
        checks = [dg.AssetCheckSpec("whole", asset=E, blocking=True)] if self.checked else []

        @dg.multi_asset(
            specs=[dg.AssetSpec(E, partitions_def=self.upstream)],
            check_specs=checks,
            name="read",
            backfill_policy=ONE_RUN,
        )
        def read(context: dg.AssetExecutionContext) -> Any:
            self._happen()
            for part, version in self._versions.items():
                if part in context.partition_keys:
                    context.add_asset_metadata({"sparktorch/data_version": version}, asset_key=E, partition_key=part)
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(str(self._versions)),
                check_results=[dg.AssetCheckResult(passed=self._passes, check_name=check.name) for check in checks],
            )

        @dg.asset(key=M)
        def model() -> None: ...

        @dg.multi_asset(
            specs=[
                dg.AssetSpec(
                    P,
                    deps=[dg.AssetDep(E, partition_mapping=self.mapping), M],
                    code_version=code,
                    automation_condition=self.condition(),
                    partitions_def=self.partitions,
                )
            ],
            name="predict",
            backfill_policy=ONE_RUN,
        )
        def predict(context: dg.AssetExecutionContext) -> Any:
            if self.records:
                record_made_from(context)
            self._happen()
            self.made.append(list(context.partition_keys))
            yield dg.MaterializeResult()

        return dg.Definitions(assets=[read, model, predict])

    def read(  # type: ignore[override]
        self,
        versions: Mapping[str, str],
        *,
        passes: bool = True,
        outcome: str = "ok",
        meanwhile: Meanwhile = nothing,
    ) -> None:
        """A run of E over partitions, given in their order, that finds these versions."""
        self._versions, self._passes = versions, passes
        self.run(E, outcome, meanwhile, tags=_range(list(versions)))

    def predict(  # type: ignore[override]
        self, *parts: str, outcome: str = "ok", meanwhile: Meanwhile = nothing
    ) -> None:
        """A run of P over partitions."""
        self.run(P, outcome, meanwhile, tags=_range(parts))

    def asked(self, later: dt.timedelta = TICK) -> set[str | None]:
        """The partitions of P that automation requests at its next evaluation."""
        self.now += later
        result = dg.evaluate_automation_conditions(
            self.location, instance=self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor = result.cursor
        return set(result.get_requested_partitions(P))

    def asked_twice(self) -> list[set[str | None]]:
        """What two ticks request, between which nothing happens: the second never anything."""
        return [self.asked(), self.asked()]


def _range(parts: Any) -> dict[str, str]:
    return dict(zip(RANGE, (parts[0], parts[-1]), strict=True))
