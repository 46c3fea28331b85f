"""What is about to be committed can be looked at and refused; what was committed is on record."""

import json
from itertools import islice

import pytest
from deltalake import DeltaTable
from lake_scorer import expected_rows, plan_of, refresh, rows_of, score_shard, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.commit_plan import commit_plan
from sparktorch_assets.lake.publication import Published, publications, published_metadata
from sparktorch_assets.lake.table import Table, table_version
from sparktorch_assets.tally import Tally


def carry_out(source, table, weight, audit):
    plan = plan_of(source, table, weight)
    plan.table.folder.create()
    parts = dict(plan.resumed)
    for shard in plan.new:
        parts[shard.part_path] = score_shard(shard, table, weight, lambda _: None, plan.schema)
    return plan, commit_plan(plan, parts, audit, {})


@pytest.mark.promise("T121")
def test_an_audit_sees_the_table_before_and_what_would_be_added(tmp_path):
    source, table, seen = tmp_path / "source", tmp_path / "table", []
    write_file(source, "a", [1, 2, 3])
    carry_out(source, table, 1, seen.append)
    write_file(source, "b", [4, 5])
    plan, _ = carry_out(source, table, 1, seen.append)
    first, second = seen
    assert (first.table.version, first.tally.predicted, first.rows_in) == (None, 3, 3)
    assert (second.table.version, second.tally.predicted, second.rows_in) == (0, 5, 5)
    assert (second.partition, second.schema) == ((), plan.schema)
    assert {path: tally.rows for path, tally in second.parts.items()} == {plan.new[0].part_path: 2}


@pytest.mark.promise("T121")
def test_a_refused_publication_changes_nothing_and_costs_nothing(tmp_path):
    """The version stays, the parts stay, and whoever allows it later publishes them as they are."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 1)

    def refuse(_):
        raise TableError("not on a Friday")

    with pytest.raises(TableError, match="not on a Friday"):
        carry_out(source, table, 2, refuse)
    assert (rows_of(table), table_version(str(table))) == (expected_rows(source, 1), 0)
    again = plan_of(source, table, 2)
    assert (len(again.new), len(again.resumable)) == (0, 1)
    carry_out(source, table, 2, lambda _: None)
    assert rows_of(table) == expected_rows(source, 2)


def test_each_commit_records_what_it_published(tmp_path):
    """The newest first; a version of the past knows no later one, and commits of other writers are passed over."""
    source, table = tmp_path / "source", tmp_path / "table"
    assert list(publications(Table(str(table)))) == []
    for weight in (1, 2, 3):
        write_file(source, "a", [0] * weight)
        refresh(source, table, weight)
    DeltaTable(str(table)).delete("x = 5")
    DeltaTable(str(table)).optimize.compact()
    found = list(publications(Table(str(table))))
    assert [tallies[""].classes for tallies in found] == [{"3": 3}, {"2": 2}, {"1": 1}]
    assert [tallies[""].classes for tallies in islice(publications(Table(str(table), 1)), 1)] == [{"2": 2}]


def test_a_commit_of_very_many_partitions_records_none():
    many = [
        Published(partition=(("ds", str(number)),), tally=Tally(rows=number), data_version="v") for number in range(201)
    ]
    assert published_metadata(many).keys() == {"partitions"}
    assert json.loads(published_metadata(many[:200])["published"])["ds=7"]["rows"] == 7
    assert published_metadata(many[:1])["partition"] == "ds=0"
