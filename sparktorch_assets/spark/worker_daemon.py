"""The process from which Spark's Python workers are forked, with everything imported that they need.

    spark.python.daemon.module = sparktorch_assets.spark.worker_daemon

Spark starts one such process per set of environment variables, and forks a worker from it whenever a task has none. Its
own, `pyspark.daemon`, imports next to nothing, so that each worker has to import torch, which takes seconds, and has its
own copy of it in memory. This one imports first, and then does what `pyspark.daemon` does.

A fork copies one thread only, and no CUDA context survives it. So if the imports have started a thread or opened a GPU,
the process starts over as `pyspark.daemon`. No module of a user is imported here: workers import these themselves, as
they are when the job starts (`session/worker_pool.py`).
"""

import contextlib
import gc
import importlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

_MODULES = (
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pandas",
    "pyspark.worker",
    "torch",
    "tokenizers",
    "safetensors.torch",
    "sparktorch_assets.predict.local",
    "sparktorch_assets.predict.model.torch_model",
    "sparktorch_assets.predict.partition",
    "sparktorch_assets.spark.ml_predict",
    "sparktorch_assets.spark.score.job.worker",
)
_ONE_THREAD = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}
"""The memory allocators of pyarrow and of deltalake would start a thread each when they are loaded."""
_PLAIN_DAEMON = "pyspark.daemon"


def main() -> None:
    """Import, and serve Spark; or become Spark's own daemon, if that is not safe."""
    reason = _import_for_workers()
    if reason:
        print(f"Spark's Python workers import torch themselves: {reason}", file=sys.stderr)  # noqa: T201
        os.execv(sys.executable, [sys.executable, "-m", _PLAIN_DAEMON, *sys.argv[1:]])  # noqa: S606
    from pyspark.daemon import manager

    gc.collect()
    gc.freeze()  # a collection in a worker would otherwise touch, and so copy, what it shares with the others
    os.register_at_fork(after_in_child=_other_random_numbers)
    manager()


def _import_for_workers() -> str:
    """Import what workers need. What is returned says why they must not be forked after that; it is empty if they may."""
    try:
        with _stdout_to_stderr(), _environment(_ONE_THREAD):
            for module in _MODULES:
                importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  (it may be anything, and a worker will say it again)
        return f"{type(error).__name__}: {error}"
    return unsafe_to_fork()


def unsafe_to_fork() -> str:
    """Why this process must not be forked: it has several threads, or has opened a GPU. Empty if it may be."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        return f"the imports have started {threads - 1} threads"
    open_gpus = [name for name in map(_target, Path("/proc/self/fd").iterdir()) if name.startswith("/dev/nvidia")]
    return f"the imports have opened {open_gpus[0]}" if open_gpus else ""


def _target(descriptor: Path) -> str:
    with contextlib.suppress(OSError):  # the one with which the folder itself was listed
        return str(descriptor.readlink())
    return ""


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Spark reads a port from stdout, and nothing else may be written there."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _other_random_numbers() -> None:
    """Give a worker random numbers of its own, as if it had imported numpy itself. torch's are the same in every process
    until somebody seeds them, and Python's own are seeded at each fork anyway."""
    import numpy as np

    np.random.seed(random.getrandbits(32))  # noqa: NPY002  (the global generator, which a user's code may use)


if __name__ == "__main__":
    main()
