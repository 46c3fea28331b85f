"""A small project, as `dg` would have made it, whose tables cost next to nothing."""

from pathlib import Path

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
DEFINITIONS = '''
from pathlib import Path

import dagster as dg

from sparktorch_assets import ModelLoaderResource, SparkSessionResource, check_definitions, runtime_definitions

HERE = Path(__file__).parent


@dg.definitions
def defs() -> dg.Definitions:
    """Everything under `defs/`, on one core."""
    session = SparkSessionResource(master="local[1]", config={"spark.driver.memory": "1g", "spark.ui.enabled": "false"})
    loader = ModelLoaderResource(device="cpu", workers=1)
    runtime = runtime_definitions(HERE.parent, spark=session, model_loader=loader)
    return check_definitions(dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=HERE), runtime))
'''
REPORT = '''
import dagster as dg


@dg.asset(deps=[dg.AssetKey(["predictions", "strict"])])
def report() -> None:
    """Runs if the predictions are as they should be."""
'''
NUMBERS = """\
type: sparktorch_assets.InputTableComponent

attributes:
  source: [source/numbers.csv]
  format: csv
  options: {header: true}
  columns: {n: long, x: double}
"""
VISITS = """\
type: sparktorch_assets.InputTableComponent

attributes:
  source: [source/visits.csv]
  format: csv
  options: {header: true}
  columns: {n: long, x: double, day: date}
  partitions: {by: month, column: day, start: 2025-01-01, end: 2025-07-01}
"""
TASK = """\
type: sparktorch_assets.MlTaskComponent

attributes:
  input: INPUT
  model: {factory: "sparktorch_assets.testing:build", arguments: ARGUMENTS, trust_code: true}
  features: [{kind: numeric, columns: [x]}]
  labels: [below, above]
"""
POISON = 7.0


def task(table: str, arguments: str, more: str = "") -> str:
    return TASK.replace("INPUT", table).replace("ARGUMENTS", arguments) + more


def write(project: Path) -> None:
    """One task that goes well, one that hangs, one of which a row fails that may not, and one by month."""
    files = {
        "dg.toml": 'directory_type = "project"\n\n[project]\nroot_module = "shop"\ncode_location_name = "shop"\n',
        "shop/__init__.py": "",
        "shop/definitions.py": DEFINITIONS,
        "shop/defs/__init__.py": "",
        "shop/defs/report.py": REPORT,
        "shop/defs/numbers/defs.yaml": NUMBERS,
        "shop/defs/visits/defs.yaml": VISITS,
        "shop/defs/sign/defs.yaml": task("numbers", "{network: Echo}"),
        "shop/defs/slow/defs.yaml": task("numbers", f"{{network: HangsOnValue, value: {POISON}}}"),
        "shop/defs/strict/defs.yaml": task(
            "numbers", f"{{network: FailsOnValue, value: {POISON}}}", "  max_failed_share: 0\n"
        ),
        "shop/defs/season/defs.yaml": task(
            "visits", "{network: Echo}", "  partitions: {by: month, column: day, start: 2025-01-01, end: 2025-07-01}\n"
        ),
        "workspace.yaml": WORKSPACE.read_text().replace("sparktorch_assets", "shop"),
        "source/numbers.csv": "n,x\n" + "".join(f"{n},{n - 50}\n" for n in range(100)),
        "source/visits.csv": "n,x,day\n" + "".join(f"{n},{n - 30},2025-{n % 6 + 1:02}-15\n" for n in range(60)),
    }
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
