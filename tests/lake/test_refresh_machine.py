"""Whatever happens to the input, the weights and the process, the next refresh ends with exactly the right rows."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lake_scorer import CUTS, expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.lake.vacuum import vacuum

VALUES = st.lists(st.integers(-1000, 1000), max_size=9)
NAMES = st.sampled_from("abcd")


class Killed(BaseException):
    """Ends the process, as far as the lake can tell."""


class RefreshMachine(RuleBasedStateMachine):
    @initialize(cut=st.sampled_from([*CUTS]))
    def begin(self, cut: str) -> None:
        self.cut = CUTS[cut]
        self.root = Path(tempfile.mkdtemp())
        self.source, self.table = self.root / "source", self.root / "table"
        write_file(self.source, "zero", [])
        self.weight = 1
        self.seen: list[tuple] | None = None

    @rule(name=NAMES, values=VALUES)
    def add_or_rewrite(self, name: str, values: list[int]) -> None:
        write_file(self.source, name, values)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        (self.source / f"{name}.parquet").unlink(missing_ok=True)

    @rule(weight=st.integers(1, 3))
    def change_weights(self, weight: int) -> None:
        self.weight = weight

    @rule(crash_at=st.integers(0, 12))
    def crash(self, crash_at: int) -> None:
        left = crash_at

        def step(_: str) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1

        wanted = expected_rows(self.source, self.weight)
        try:
            refresh(self.source, self.table, self.weight, step, **self.cut)
        except Killed:
            pass
        else:
            self.seen = wanted
        if self.table.joinpath("_delta_log").exists():  # the old rows or the new ones, nothing between
            found = rows_of(self.table)
            assert found in (self.seen, wanted)
            self.seen = found

    @precondition(lambda self: self.table.exists())
    @rule(keep=st.floats(0, 0.99), foreign=st.booleans())
    def damage_a_finished_part(self, keep: float, foreign: bool) -> None:
        committed = Table(str(self.table)).snapshot.parts
        finished = sorted(path for path in self.table.glob("part-*.parquet") if path.name not in committed)
        if finished:
            content = finished[0].read_bytes()
            other = min(self.source.glob("*.parquet")).read_bytes()
            finished[0].write_bytes(other if foreign else content[: int(len(content) * keep)])

    @precondition(lambda self: self.table.joinpath("_delta_log").exists())
    @rule()
    def vacuum_all(self) -> None:
        vacuum(str(self.table), retention_hours=0)

    @rule()
    def refresh(self) -> None:
        refresh(self.source, self.table, self.weight, **self.cut)
        wanted = expected_rows(self.source, self.weight)
        assert rows_of(self.table) == wanted
        self.seen = wanted
        table = Table(str(self.table))
        assert table.snapshot.rows == len(wanted)
        tally = table_tally(table)
        assert tally.rows == tally.predicted == len(wanted)
        assert tally.classes == ({str(self.weight): len(wanted)} if wanted else {})
        assert not plan_of(self.source, self.table, self.weight, **self.cut).changes

    @invariant()
    def readers_see_what_was_committed(self) -> None:
        if getattr(self, "seen", None) is not None:
            assert rows_of(self.table) == self.seen

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)


TestRefreshMachine = RefreshMachine.TestCase
TestRefreshMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
