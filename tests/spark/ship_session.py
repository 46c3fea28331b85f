"""What test_shipped_code runs in a process of its own, on workers whose Python path lacks the project: prints one line
of JSON. Arguments: a folder to work in, and a master or the address of a Connect server."""

import json
import sys
from pathlib import Path

from ship_project import Project
from ship_world import World

from sparktorch_assets.orchestration.resources import SparkSessionResource
from sparktorch_assets.spark.session.start import start_session

LIBRARY = Path(__file__).parents[2]


def main(root: Path, place: str) -> None:
    project = Project(root)
    project.write()
    sys.path[:0] = project.path
    from shop.rates import RATE

    where = {"remote": place} if place.startswith("sc://") else {"master": place}
    config = {
        "spark.driver.memory": "1g",
        "spark.executor.memory": "1g",
        "spark.executorEnv.PYTHONPATH": f"{LIBRARY}:{project.on_workers}",
    }
    settings = {"config": {} if "remote" in where else config}
    spark = start_session(**where, **settings)
    world = World(root, spark)
    said = {
        "table": world.score("shop.hooks:mark"),
        "another": world.score("shop.late:mark", "another"),
        "rival": world.score("rival.hooks:mark", "rival"),
        "asset": world.materialize(SparkSessionResource(**where, **settings)),
        "script": world.predict(lambda row: row | {"mark": f"by value {RATE}"}),
    }
    project.edit("src/shop/rates.py", "RATE = 2\n")
    try:
        said["edited"] = world.score("shop.hooks:mark")
    except Exception as error:  # noqa: BLE001  (what it is, is told)
        said["edited"] = [type(error).__name__, str(error)]
    spark.conf.set("spark.sparktorch.ship", "false")
    try:
        world.score("alone:mark", "alone")
    except Exception as error:  # noqa: BLE001
        said["not shipped"] = [type(error).__name__, str(error)]
    sys.stdout.write(json.dumps(said))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
