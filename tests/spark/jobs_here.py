"""A session that needs no JVM."""

from types import SimpleNamespace

import pyarrow as pa


class JobsHere:
    """As much of a session as `score_table` uses: jobs run in this process."""

    def __init__(self):
        self.sparkContext = SimpleNamespace(
            defaultParallelism=1, addJobTag=lambda tag: None, cancelJobsWithTag=lambda tag: None
        )
        self.conf = SimpleNamespace(get=lambda key, default=None: "local[1]" if key == "spark.master" else default)

    def range(self, _start, end, _step, _partitions):
        self._numbers = range(end)
        return self

    def mapInArrow(self, function, _schema, profile=None):
        self._function = function
        return self

    def collect(self):
        batches = [pa.RecordBatch.from_pydict({"id": [number]}) for number in self._numbers]
        return [row for batch in batches for found in self._function([batch]) for row in found.to_pylist()]
