"""As much of a Spark session as `score_table` uses: its jobs run in this process, each in a worker that has imported none of
the user's modules yet.
"""

import sys
from types import SimpleNamespace

import pyarrow as pa
from pyspark import cloudpickle

from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.tasks.code import imported_code


class FakeSession:
    """Runs `range(...).mapInArrow(...).collect()`, one partition after the other."""

    def __init__(self, user_modules: tuple[str, ...] = (), *, slots: int = 1) -> None:
        """Start nothing.

        Args:
            user_modules: forgotten before each job, as by a new worker process.
            slots: the cores that the session claims to have.
        """
        self.jobs = 0
        self.sparkContext = SimpleNamespace(
            defaultParallelism=slots, addJobTag=lambda tag: None, cancelJobsWithTag=lambda tag: None
        )
        self.conf = SimpleNamespace(
            get=lambda key, default=None: f"local[{slots}]" if key == "spark.master" else default
        )
        self._user_modules = user_modules

    def range(self, start, end, step, partitions):
        assert (start, step, partitions) == (0, 1, end)
        return _Range(self, end)

    def run(self, pickled: bytes, end: int) -> list[dict]:
        self.jobs += 1
        forget(self._user_modules)
        try:
            batches = [pa.RecordBatch.from_pydict({"id": [number]}) for number in range(end)]
            # Each partition unpickles the function anew, as each of Spark's tasks does.
            found = [result for batch in batches for result in cloudpickle.loads(pickled)(iter([batch]))]
            return [row for batch in found for row in batch.to_pylist()]
        finally:
            forget(self._user_modules)


class _Range:
    def __init__(self, session: FakeSession, end: int) -> None:
        self._session, self._end = session, end

    def mapInArrow(self, function, schema, profile=None):
        assert schema == "result string"
        self._pickled = cloudpickle.dumps(function)
        return self

    def collect(self):
        return self._session.run(self._pickled, self._end)


def forget(modules: tuple[str, ...]) -> None:
    """Make of this process one that has imported none of these modules and run no job."""
    for name in modules:
        sys.modules.pop(name, None)
        imported_code._imported.pop(name, None)
    imported_code._declared.clear()
    forget_models()
