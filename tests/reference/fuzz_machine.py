"""Drawn inputs, tasks and histories: after every step the table is what the reference says, whatever happened.

A history changes the input, the model's files, the user's code or the task; kills refreshes, lets others write, vacuum and
delete in the midst of them; damages parts. Then it refreshes, and looks at the table with everybody's readers.
"""

import contextlib
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import readers
import reference
from avoided import AVOIDED
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from drawn_sources import DeltaSource, FolderSource
from drawn_tables import (
    FORMS,
    KINDS,
    PARTITION_VALUES,
    WITHOUT_DELTA_WRITER,
    Column,
    columns,
    rows,
)
from drawn_tasks import USER_MODULES, VERSIONED, Code, row_filters, tasks, what_counts, write_weights
from fake_session import FakeSession, forget
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from logged_source import LoggedSource

from sparktorch_assets.errors import (
    InputSchemaError,
    SparktorchError,
    TooManyDroppedRowsError,
    TooManyFailedRowsError,
)
from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.parts.file import PART_NAME
from sparktorch_assets.lake.plan import Plan, make_plans
from sparktorch_assets.lake.table import data_version, table_version
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.partitions import score_partitions
from sparktorch_assets.spark.score.plan import planned as planned_module
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import BatchPolicy, MlTask, SlotPolicy
from sparktorch_assets.tasks.partitions import TablePartition
from sparktorch_assets.testing.faults import Killed, at_step, die

FILES = st.sampled_from(["a.parquet", "b c.parquet", "sub/ü.parquet", "100%.parquet", "%20.parquet", "sub dir/f.parq"])
STEPS = st.integers(0, 99)
CUTS = ({"target_rows": 4}, {"target_rows": 4, "shard_rows": 2}, {"target_rows": 64})
"""What `make_plans` is told: shards of some row groups, parts of row groups that are split, small files that are joined."""
Partition = dict[str, str] | None
_ADDED = {"string": pa.string(), "float": pa.float32(), "double": pa.float64(), "list<float>": pa.list_(pa.float32())}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a table, or a partition of one, holds."""

    outcome: reference.Outcome
    schema: pa.Schema
    task: MlTask


class FuzzMachine(RuleBasedStateMachine):
    """One history."""

    histories: ClassVar[int] = 0
    steps: ClassVar[int] = 0
    rows_checked: ClassVar[int] = 0
    spark: ClassVar[Any] = None
    """A real session, for reading tables and writing input files, where there is one."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        type(self).histories += 1
        self.root = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.real_make_plans = planned_module.make_plans
        cut = data.draw(st.sampled_from(CUTS), label="cut")
        planned_module.make_plans = lambda *args, **options: make_plans(*args, **(options | cut))
        self.table = self.root / "out" / data.draw(st.sampled_from(["t", "t 1", "ü 50%", "a#b?c"]))
        self.models = self.root / "models"
        (self.root / "code").mkdir()
        sys.path.insert(0, str(self.root / "code"))
        layout = data.draw(
            st.sampled_from(["folder", "folder", "hive", "delta", "delta partitioned", "logged", "logged partitioned"])
        )
        self.by_partition = data.draw(st.booleans())
        self.held = data.draw(columns())
        if layout not in ("folder", "hive"):
            self.held = [
                replace(column, physical=column.arrow)
                for column in self.held
                if column.kind not in WITHOUT_DELTA_WRITER
            ]
        partitioned = layout == "hive" or layout.endswith("partitioned")
        if self.by_partition or partitioned:
            self.held.append(Column(name="p", kind="string", physical=pa.string()))
        source = self.root / data.draw(st.sampled_from(["in", "in put"]))
        self.source: FolderSource | DeltaSource | LoggedSource
        if layout.startswith("logged"):
            mapping = data.draw(st.sampled_from(["none", "name", "id"]))
            self.source = LoggedSource(source, self.held, partitioned=partitioned, mapping=mapping)
        elif layout.startswith("delta"):
            self.source = DeltaSource(source, self.held, partitioned=partitioned)
        else:
            self.source = FolderSource(source, self.held, hive=partitioned)
        self.task: MlTask = data.draw(tasks(self.held, self.by_partition))
        self.code = Code(
            folder=self.root / "code",
            changed=tuple(column.name for column in self.held if column.kind == "float64"),
            versions=dict.fromkeys(VERSIONED, 1),
        )
        self.code.write()
        self.weights = 1
        write_weights(self.models / "net.safetensors", self.weights)
        self.next_id = 0
        self.shown: dict[str, Shown] = {}
        self.meanings: dict[str, str] = {}
        self.damaged: dict[Path, int] = {}
        self.refused = False
        # One file always has all columns in their own types; others may lack some or hold narrower ones.
        self.put(data, "whole.parquet", whole=True)
        self.settle(data)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            planned_module.make_plans = self.real_make_plans
            sys.path.remove(str(self.root / "code"))
            forget(USER_MODULES)
            shutil.rmtree(self.root)

    # What can happen to the input

    @rule(data=st.data(), name=FILES)
    def add_or_replace_rows(self, data: st.DataObject, name: str) -> None:
        self.put(data, name)
        self.settle(data)

    @precondition(lambda self: isinstance(self.source, FolderSource))
    @rule(data=st.data(), name=FILES, what=st.sampled_from(["delete", "rename", "touch", "renumber"]))
    def change_a_file(self, data: st.DataObject, name: str, what: str) -> None:
        old = data.draw(st.sampled_from(sorted(self.source.files)))
        if what == "touch":
            self.source.touch(old, 1)
        elif what == "renumber":
            self.next_id = self.source.renumber(old, self.next_id)
        elif not old.endswith("whole.parquet"):
            if what == "delete":
                self.source.delete(old)
            else:
                self.source.rename(old, name)
        self.settle(data)

    @precondition(lambda self: isinstance(self.source, FolderSource))
    @rule(data=st.data(), how=st.sampled_from(["twice", "beside", "in another file"]))
    def add_a_twin(self, data: st.DataObject, how: str) -> None:
        """A column whose name a table cannot tell from another one's ends the planning, whoever needs the column."""
        column = data.draw(st.sampled_from([column for column in self.held if how == "twice" or _twin(column.name)]))
        if (
            how == "twice" and column.name == "p" and self.source.hive
        ):  # the folder's name goes before the file's column
            return
        path = self.source.put_twin(
            "twin.parquet",
            column,
            column.name if how == "twice" else _twin(column.name),
            alone=how == "in another file",
        )
        for partition in self.partitions():
            with pytest.raises(InputSchemaError, match="twice|only in case"):
                self.score(self.task, partition, _no_session)
        path.unlink()
        self.settle(data, unchanged=True)

    @precondition(lambda self: not isinstance(self.source, FolderSource))
    @rule(data=st.data(), compact=st.booleans())
    def change_delta_rows(self, data: st.DataObject, compact: bool) -> None:
        if compact:
            self.source.compact()
        elif self.source.rows:
            ids = data.draw(st.sets(st.sampled_from([row["id"] for row in self.source.rows]), min_size=1, max_size=3))
            self.source.delete_rows(ids)
        self.settle(data)

    # What can happen to the model, the code and the task

    @rule(data=st.data(), seed=st.integers(1, 3))
    def swap_weights(self, data: st.DataObject, seed: int) -> None:
        self.change_weights(seed)
        self.settle(data)

    @rule(data=st.data(), which=st.sampled_from(VERSIONED), version=st.integers(1, 3))
    def edit_code(self, data: st.DataObject, which: str, version: int) -> None:
        self.change_code(which, version)
        self.settle(data)

    @rule(data=st.data(), batch_rows=st.integers(1, 4))
    def edit_what_does_not_count(self, data: st.DataObject, batch_rows: int) -> None:
        self.code.comments += 1
        self.code.write()
        write_weights(self.models / "net.safetensors", self.weights)
        self.task = replace(self.task, batch=BatchPolicy(batch_size=batch_rows), description=f"{self.code.comments}")
        self.settle(data, unchanged=True)

    @rule(data=st.data(), what=st.sampled_from(["where", "version", "limits", "scores", "kept"]))
    def edit_task(self, data: st.DataObject, what: str) -> None:
        if what == "where":
            self.task = replace(self.task, where=data.draw(row_filters(self.held, least=1)))
        elif what == "version":
            self.task = replace(self.task, code_version=data.draw(st.sampled_from(["", "2"])))
        elif what == "limits":
            self.task = replace(self.task, max_failed_share=1.0, max_dropped_share=1.0)
        elif self.by_partition:  # a table with partitions cannot lose columns
            pass
        elif what == "scores":
            self.task = replace(self.task, output=replace(self.task.output, scores=not self.task.output.scores))
        elif what == "kept":
            self.task = replace(self.task, keep_columns=data.draw(st.sampled_from([None, ["id"]])))
        self.settle(data)

    # What can happen to the table

    @rule(data=st.data(), step=STEPS, name=FILES, change=st.booleans())
    def kill_a_refresh(self, data: st.DataObject, step: int, name: str, change: bool) -> None:
        if change:
            self.put(data, name)
        self.disturbed(step, die)
        self.look_between(self.expected())
        self.settle(data)

    @rule(data=st.data(), step=STEPS, same=st.booleans(), all_new=st.booleans(), name=FILES)
    def second_writer(self, data: st.DataObject, step: int, same: bool, all_new: bool, name: str) -> None:
        self.put(data, name)
        if all_new:  # or each run also misses the parts that the other one removed
            self.change_weights(self.weights % 3 + 1)
        here = data.draw(st.sampled_from(self.partitions()))
        mine = {_key(here): self.expected_in(here)}
        other = self.task if same else replace(self.task, code_version=f"{self.task.code_version} other")
        before = table_version(str(self.table))
        versions: list[int | None] = []

        def refresh_other() -> None:
            self.score(other, here, FakeSession(USER_MODULES))
            versions.append(table_version(str(self.table)))

        error, at = self.disturbed(step, refresh_other, [here])
        # Parts of another task were committed after this refresh was planned, and before it committed its own.
        is_between = versions not in ([], [before]) and not at.startswith("after")
        if is_between and not same and any(pq.read_metadata(part).num_rows for part in self.live(here)):
            assert isinstance(error, SparktorchError), f"{at}: both commits went through"
        self.look_between(mine)
        self.settle(data)

    @rule(
        data=st.data(),
        step=STEPS,
        what=st.sampled_from(
            ["vacuum", "lose a part", "input", "input in place", "weights", "weights in place", "code"]
        ),
        all_new=st.booleans(),
        name=FILES,
    )
    def others_meanwhile(self, data: st.DataObject, step: int, what: str, all_new: bool, name: str) -> None:
        self.put(data, name)
        if all_new:
            self.change_weights(self.weights % 3 + 1)
        acts: dict[str, Callable[[], Any]] = {
            "vacuum": lambda: self.has_table() and vacuum(str(self.table), retention_hours=0),
            "lose a part": lambda: [path.unlink() for path in self.parts()[:1]],
            "input": lambda: self.put(data, name),
            "input in place": lambda: self.overwrite_input(data),
            "weights": lambda: self.change_weights(self.weights % 3 + 1),
            "weights in place": lambda: self.change_weights(self.weights % 3 + 1, in_place=True),
            "code": lambda: self.change_code("network", self.code.versions["network"] % 3 + 1),
        }
        before, weights, network = self.expected(), self.weights, self.code.versions["network"]
        self.disturbed(step, acts[what])
        self.look_between(before, self.expected())
        self.settle(data)
        if (weights, network) != (self.weights, self.code.versions["network"]):
            # The refresh's own parts are found again now: they must hold what their names say.
            self.change_weights(weights)
            self.change_code("network", network)
            self.settle(data)

    @precondition(lambda self: self.has_table())
    @rule(data=st.data(), hours=st.sampled_from([0.0, 1e-4, 1.0]))
    def vacuum(self, data: st.DataObject, hours: float) -> None:
        vacuum(str(self.table), retention_hours=hours)
        self.look_between()
        if hours == 0:
            assert set(self.parts()) <= set(self.live())
            assert not list(self.table.rglob(".*.tmp"))
        self.settle(data, unchanged=True)

    @precondition(lambda self: self.parts() and not self.refused)
    @rule(data=st.data(), keep=st.none() | st.floats(0, 0.99))
    def damage_a_part(self, data: st.DataObject, keep: float | None) -> None:
        part = data.draw(st.sampled_from(self.parts()))
        if keep is None:
            part.unlink()
        else:
            content = part.read_bytes()
            self.damaged[part] = part.write_bytes(content[: int(len(content) * keep)])
        self.settle(data)

    @precondition(lambda self: self.has_table() and not self.refused)
    @rule(data=st.data(), what=st.sampled_from(["restore", "compact", "delete"]))
    def others_commit(self, data: st.DataObject, what: str) -> None:
        delta = DeltaTable(str(self.table))
        try:
            if what == "restore":
                delta.restore(0)
            elif what == "compact":
                delta.optimize.compact()
            else:
                delta.delete()
        except (DeltaError, OSError) as error:  # the first version was vacuumed
            note(f"{what}: {error}")
        self.settle(data)

    # How it is done, and how it is looked at

    def change_weights(self, seed: int, *, in_place: bool = False) -> None:
        self.weights = seed
        write_weights(self.models / "net.safetensors", seed, in_place=in_place)

    def overwrite_input(self, data: st.DataObject) -> None:
        if isinstance(self.source, FolderSource):
            name = data.draw(st.sampled_from(sorted(self.source.files)))
            self.next_id = self.source.overwrite(name, self.next_id)

    def change_code(self, which: str, version: int) -> None:
        self.code.versions[which] = version
        self.code.write()

    def put(self, data: st.DataObject, name: str, *, whole: bool = False) -> None:
        """New rows, as a file of that name where the input is a folder."""
        # A file without any of the columns that a task reads is refused: it looks like another table's.
        read = [name for name in self.task.feature_columns if name != "p"]
        form = replace(data.draw(FORMS), always=frozenset({"id", *(read[:1] or (column.name for column in self.held))}))
        lacking = () if whole or isinstance(self.source, DeltaSource) else self.held
        lacking = {column.name for column in lacking if form.lacks_columns and column.name not in ("p", *form.always)}
        if whole:
            form = replace(form, narrow=False, lacks_columns=False)
        drawn = data.draw(rows([column for column in self.held if column.name != "p"]))
        if any(column.name == "p" for column in self.held):
            avoided = "odd partition values in Delta's log" in AVOIDED and isinstance(self.source, DeltaSource)
            odd = () if avoided or self.by_partition else PARTITION_VALUES["odd"]
            values = st.sampled_from([None, *PARTITION_VALUES["safe"], *odd])
            hive = isinstance(self.source, FolderSource) and self.source.hive
            if hive and "null partitions in Hive's folders" in AVOIDED:
                values = values.filter(lambda value: value is not None)
            one = data.draw(values)
            drawn = [row | {"p": one if hive else data.draw(values)} for row in drawn]
            if hive and not drawn and self.source.files:
                return
            if hive and not drawn:
                drawn = [dict.fromkeys((column.name for column in self.held), None) | {"p": one}]
        for row in drawn:
            row["id"] = self.next_id
            self.next_id += 1
            row.update(dict.fromkeys(lacking))
        self.source.put(name, drawn, form, self.spark)

    def partitions(self) -> list[Partition]:
        return [{"p": value} for value in PARTITION_VALUES["safe"]] if self.by_partition else [None]

    def has_table(self) -> bool:
        return any(self.table.glob("_delta_log/*.json"))

    def parts(self) -> list[Path]:
        """The parts that lie in the table's folder, whether or not they count."""
        return sorted(path for path in self.table.rglob("part-*.parquet") if PART_NAME.fullmatch(path.name))

    def live(self, partition: Partition = None) -> list[Path]:
        """The files of the table's latest version, or of a partition of it."""
        files = [Path(path) for path in readers.live_files(self.table)]
        return [path for path in files if partition is None or path.parent.name == f"p={partition['p']}"]

    def is_damaged(self, path: Path) -> bool:
        return not path.exists() or path.stat().st_size == self.damaged.get(path)

    def expected(self) -> dict[str, Shown]:
        """Partition -> what is due there."""
        return {_key(partition): self.expected_in(partition) for partition in self.partitions()}

    def expected_in(self, partition: Partition) -> Shown:
        types = {column.name: column.arrow for column in self.held}
        rows = [
            {name: row.get(name) for name in types}
            for row in self.source.rows
            if partition is None or row["p"] == partition["p"]
        ]
        outcome = reference.score(rows, types, self.task, self.models, self.code.load)
        schema = self.schema()
        if partition is not None:
            for row in outcome.rows:
                row["p"] = partition["p"]
        return Shown(outcome=outcome, schema=schema, task=self.task)

    def schema(self) -> pa.Schema:
        """The table's columns."""
        types = {column.name: column.arrow for column in self.held}
        found = {name: types[name] for name in self.task.kept_columns(tuple(types))}
        found |= {column.name: _ADDED[column.type] for column in self.task.output_columns}
        return pa.schema(found | ({"p": pa.string()} if self.by_partition else {}))

    def arguments(self, partition: Partition) -> dict[str, Any]:
        return {
            "output_table": str(self.table),
            "model_loader": ModelLoader(self.models, device="cpu"),
            "partition": partition,
        }

    def score(self, task: MlTask, partition: Partition, session: Any) -> Any:
        return score_table(
            session, str(self.source.root), task, **self.arguments(partition), slots=SlotPolicy(device="cpu")
        )

    def score_together(self) -> None:
        """Refresh all partitions in one job and one commit."""
        given = self.arguments(None)
        given["partitions"] = [
            TablePartition(key=value, column="p", value=value, where=()) for value in PARTITION_VALUES["safe"]
        ]
        del given["partition"]
        session = FakeSession(USER_MODULES)
        score_partitions(session, str(self.source.root), self.task, **given, slots=SlotPolicy(device="cpu"))

    def disturbed(
        self, step: int, act: Callable[[], Any], partitions: Sequence[Partition] = ()
    ) -> tuple[BaseException | None, str]:
        """Refresh while `act` happens at a step. The library's own errors may come of that, and no others.

        Args:
            step: which of the refresh's effects `act` comes before, counted round and round.
            act: what happens.
            partitions: which ones to refresh; all of them by default.

        Returns:
            The error, and the name of the step.
        """
        raised: BaseException | None = None
        partitions = partitions or self.partitions()
        together = len(partitions) > 1 and step % 2 == 0
        plans = [plan_table(str(self.source.root), self.task, **self.arguments(partition)) for partition in partitions]
        # About so many: a folder, four a part, a commit.
        step %= 1 + sum(3 + 4 * len(plan.new) + len(plan.resumable) for plan in plans if plan.changes)
        with at_step(step, act) as seen:
            try:
                if together:
                    self.score_together()
                for partition in () if together else partitions:
                    self.score(self.task, partition, FakeSession(USER_MODULES))
            except (Killed, SparktorchError) as error:
                raised = error
        at = seen[step] if step < len(seen) else ""
        note(f"at {at!r}: {type(raised).__name__}: {raised}")
        return raised, at

    def settle(self, data: st.DataObject, *, unchanged: bool = False) -> None:
        """Refresh, and look at everything."""
        type(self).steps += 1
        self.refused = False
        if self.by_partition and self.steps % 2:
            # Whatever the outcome: what comes next compares each partition with the reference.
            with contextlib.suppress(SparktorchError):
                self.score_together()
        for partition in self.partitions():
            self.refresh(partition, unchanged=unchanged)
        if not self.has_table():
            return
        if any(map(self.is_damaged, self.live())):
            assert self.refused  # else the refresh would have healed it
            return
        for reader, found in readers.read_all(self.table, self.spark).items():
            self.compare(found, list(self.shown.values()), reader)
        self.filter(data)

    def refresh(self, partition: Partition, *, unchanged: bool) -> None:
        due = self.expected_in(partition)
        error = _refusal(due.outcome, self.task)
        lying = {path.relative_to(self.table).as_posix() for path in self.parts() if not self.is_damaged(path)}
        plan = plan_table(str(self.source.root), self.task, **self.arguments(partition))
        self.check_names(plan, partition)
        assert {shard.part_path for shard in plan.new} == plan.target - lying
        try:
            report = self.score(self.task, partition, FakeSession(USER_MODULES))
        except SparktorchError as found:
            if error is None or not isinstance(found, error):
                raise
            self.refused = True
            return
        assert error is None, f"{error} is due"
        assert report.shards_new == len(plan.new)
        assert report.tally.failed == len(due.outcome.failed)
        assert report.rows_table == len(due.outcome.rows)
        assert report.tally.dropped == len(due.outcome.dropped)
        assert report.tally.filtered == len(due.outcome.filtered)
        out = due.outcome
        assert report.rows_in == len(out.rows) + len(out.filtered) + len(out.dropped)
        key = _key(partition)
        if unchanged and key in self.shown:
            assert not report.changed
        self.shown[key] = due
        type(self).rows_checked += len(due.outcome.rows)
        before = table_version(str(self.table)), data_version(str(self.table))
        again = self.score(self.task, partition, _no_session)
        assert not again.changed
        assert (again.version, again.data_version) == (report.version, report.data_version)
        assert (table_version(str(self.table)), data_version(str(self.table))) == before

    def check_names(self, plan: Plan, partition: Partition) -> None:
        """A part's name and what it depends on determine each other."""
        kinds = sorted((column.name, str(column.physical)) for column in self.held)
        counts = repr((what_counts(self.task, self.code, self.weights), kinds, partition))
        for shard in (*plan.new, *plan.unchanged, *plan.resumable):
            meaning = repr(([*map(_meaning, shard.pieces)], counts))
            assert self.meanings.setdefault(shard.part_path, meaning) == meaning
            assert self.meanings.setdefault(meaning, shard.part_path) == shard.part_path

    def look_between(self, *due: dict[str, Shown]) -> None:
        """Whatever happened to a refresh, each partition holds its old rows or those that were due at one time."""
        if not self.has_table() or any(map(self.is_damaged, self.live())):
            return
        found = DeltaTable(str(self.table)).to_pyarrow_table()
        for partition in self.partitions():
            key = _key(partition)
            here = found if partition is None else found.filter(pa.compute.field("p") == partition["p"])
            choices = [found[key] for found in (self.shown, *due) if key in found]
            problems = []
            for choice in choices:
                try:
                    self.compare(here, [choice], "between")
                except (AssertionError, KeyError) as error:
                    problems.append(error)
                else:
                    self.shown[key] = choice
                    break
            else:
                assert not here.num_rows, problems
                assert key not in self.shown, problems

    def compare(self, found: pa.Table, shown: list["Shown"], reader: str) -> None:
        """The table that a reader found holds these rows."""
        due = [row for one in shown for row in one.outcome.rows]
        readers.compare_table(found, due, shown[0].schema, shown[0].task, reader)

    def filter(self, data: st.DataObject) -> None:
        """Readers that leave out files by their statistics find what they find without them."""
        shown = next(iter(self.shown.values()))
        kinds = {column.name: column.kind for column in self.held if not pa.types.is_nested(column.arrow)}
        kinds |= {
            f"{shown.task.output_prefix}predicted_class": "string",
            f"{shown.task.output_prefix}confidence": "float32",
        }
        kinds = {name: kind for name, kind in kinds.items() if not pa.types.is_binary(KINDS[kind].arrow)}
        named = data.draw(st.sampled_from([name for name in shown.schema.names if name in kinds]))

        def has_literal(value: Any) -> bool:
            if isinstance(value, str):
                return "\x00" not in value
            return value is not None and math.isfinite(value) and getattr(value, "is_python", True)

        values = KINDS[kinds[named]].values.filter(has_literal)
        there = sorted(
            {row[named] for one in self.shown.values() for row in one.outcome.rows if has_literal(row[named])}
        )
        value = data.draw(st.sampled_from([there[0], there[-1], *there]) | values if there else values)
        operators = ["="] if kinds[named] == "bool" else ["=", "<", "<=", ">", ">="]
        if kinds[named] == "float32":
            value = float(np.float32(value))
        readers.check_filter(self.table, named, data.draw(st.sampled_from(operators)), value)


def _meaning(piece: Piece) -> tuple[object, ...]:
    """All that a piece's rows depend on."""
    file, content = piece.file, sha256(Path(piece.file.uri).read_bytes()).hexdigest()
    groups = (piece.first_group, piece.end_group, piece.row_range)
    return file.path, file.modified_ms, file.partition, content, groups, piece.deleted


def _key(partition: Partition) -> str:
    return "" if partition is None else partition["p"]


def _twin(name: str) -> str:
    """The name in other letters; empty where it has no others."""
    return "" if name.swapcase() == name else name.swapcase()


def _refusal(due: reference.Outcome, task: MlTask) -> type[SparktorchError] | None:
    """The error that is due instead of a commit."""
    rows = len(due.rows) + len(due.dropped)
    if len(due.failed) > task.max_failed_share * rows:
        return TooManyFailedRowsError
    return TooManyDroppedRowsError if len(due.dropped) > task.max_dropped_share * rows else None


def _no_session() -> Any:
    raise AssertionError("nothing is to be scored, and a session is asked for")
