"""The sample project's graph: what is in it, and that every way of loading it finds the same."""

import difflib
import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from sample_graph import SNAPSHOT, as_text, dg_command, dg_list, for_review

from sparktorch_assets.orchestration.commands.run import load_definitions

ROOT = Path(__file__).parents[3]
GRAPH = {
    "flights": [],
    "digits": [],
    "messages": [],
    "models/late_arrival": [],
    "models/cancellation": [],
    "models/arrival_delay": [],
    "models/digit": [],
    "models/digit_challenger": [],
    "models/language": [],
    "models/component": [],
    "models/language_bert": [],
    "models/message_embedding": [],
    "models/message_topics": [],
    "predictions/late_arrival": ["flights", "models/late_arrival"],
    "predictions/cancellation": ["flights", "models/cancellation"],
    "predictions/arrival_delay": ["flights", "models/arrival_delay"],
    "predictions/digit": ["digits", "models/digit"],
    "predictions/digit_challenger": ["digits", "models/digit_challenger"],
    "predictions/language": ["messages", "models/language"],
    "predictions/component": ["models/component", "predictions/language"],
    "predictions/language_bert": ["messages", "models/language_bert"],
    "predictions/message_embedding": ["messages", "models/message_embedding"],
    "predictions/message_topics": ["messages", "models/message_topics"],
    "flight_risk": ["predictions/cancellation", "predictions/late_arrival"],
    "comparisons/digit_challenger": ["predictions/digit", "predictions/digit_challenger"],
    "similar_messages": ["predictions/message_embedding"],
}
OWN_CHECKS = {
    "predictions/arrival_delay": {"values_in_range"},
    "predictions/message_embedding": {"vectors_differ", "unit_norm"},
    "predictions/message_topics": {"scores_in_range", "labels_within_declared"},
}
"""The checks of outputs other than classes."""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return load_definitions("sparktorch_assets.definitions")


def test_the_graph_is_what_the_readme_shows(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    found = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert found == GRAPH


def test_every_prediction_has_its_checks_kinds_and_condition(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    for name in GRAPH:
        node = graph.get(dg.AssetKey(name.split("/")))
        if node.group_name == "predictions":
            of_output = OWN_CHECKS.get(name, {"confidence_in_range", "classes_within_labels"})
            declared = {"canaries", "class_share_psi", "confidence_psi"} if name == "predictions/digit" else set()
            assert {key.name for key in node.check_keys} == {"no_row_lost", "failed_share"} | of_output | declared
            assert node.kinds == {"pytorch", "pyspark", "delta"}
            assert node.automation_condition is not None


def test_one_run_is_one_process(definitions: dg.Definitions):
    assert definitions.executor is dg.in_process_executor
    assert definitions.resolve_schedule_def("daily_predictions").cron_schedule == "0 3 * * *"


def test_all_sample_paths_lie_in_the_repository(definitions: dg.Definitions):
    assert definitions.resources["lake"].project_root == str(ROOT)
    assert definitions.resources["model_loader"].project_root == str(ROOT)


@pytest.mark.slow
def test_dg_finds_nothing_wrong():
    command = [*dg_command(), "check", "defs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "YAML validated successfully" in done.stdout


@pytest.mark.slow
@pytest.mark.promise("O127")
def test_a_change_of_the_graph_is_seen_in_review():
    """What `dg list defs` says of the sample project is what the file beside this one says."""
    now, before = as_text(for_review(dg_list("defs"))), SNAPSHOT.read_text(encoding="utf-8")
    changes = difflib.unified_diff(before.splitlines(), now.splitlines(), SNAPSHOT.name, "now", n=2, lineterm="")
    assert now == before, "\n".join(["the graph is another; if that is meant, run `make graph`:", *changes])
    assert str(ROOT) not in now


@pytest.mark.slow
def test_dg_lists_the_graph_and_both_components():
    assert {asset["asset_key"] for asset in dg_list("defs")["assets"]} == set(GRAPH)
    components = {component["key"] for component in dg_list("components")["items"]}
    assert {"sparktorch_assets.MlTaskComponent", "sparktorch_assets.InputTableComponent"} <= components


def test_the_workspace_file_loads_the_same_graph_from_anywhere(tmp_path: Path):
    code = (
        "import json\n"
        "from dagster._core.workspace.load_target import WorkspaceFileTarget\n"
        f"target = WorkspaceFileTarget(paths=[{str(ROOT / 'workspace.yaml')!r}])\n"
        "(origin,) = target.create_origins()\n"
        "print(json.dumps([origin.location_name, origin.loadable_target_origin.module_name,"
        " origin.loadable_target_origin.working_directory]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    name, module, folder = json.loads(done.stdout)
    assert (name, module) == ("sparktorch_assets", "sparktorch_assets.definitions")
    assert Path(folder).resolve() == ROOT
