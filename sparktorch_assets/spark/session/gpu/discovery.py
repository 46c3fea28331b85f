"""Tells Spark which GPUs a worker has, in the form that it wants of a `discoveryScript`.

    python -m sparktorch_assets.spark.session.gpu.discovery
    {"name": "gpu", "addresses": ["0", "1"]}

An address is a GPU's number, or its name if CUDA_VISIBLE_DEVICES uses names, or the name of a MIG instance. Spark wants
the path of a program without arguments, which is `discovery_script()`.
"""

import json
import os
import sys
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.nvidia_gpus import present_gpus, visible_gpus


def discovery_script() -> str:
    """The path of the program that Spark runs, for `spark.worker.resource.gpu.discoveryScript` (standalone workers) or
    `spark.executor.resource.gpu.discoveryScript` (YARN, Kubernetes). The path has to exist on the worker.

    Raises:
        HostError: the file cannot be executed here.
    """
    script = Path(__file__).with_name("discover-gpus.sh")
    if not os.access(script, os.X_OK):
        raise HostError(
            f"{script} cannot be executed, so Spark cannot find GPUs with it: chmod +x it, or copy it to a place from "
            f"which programs may be run"
        )
    return str(script)


def main() -> None:
    """Print this host's GPUs as Spark reads them; on stderr, say so if there are none."""
    present = present_gpus()
    addresses = visible_gpus(present)
    if not addresses:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        print(  # noqa: T201  (Spark shows it next to its own error)
            f"no GPU: {len(present)} on this host, CUDA_VISIBLE_DEVICES={'not set' if visible is None else visible}",
            file=sys.stderr,
        )
    print(json.dumps({"name": "gpu", "addresses": addresses}))  # noqa: T201  (what Spark reads)


if __name__ == "__main__":
    main()
