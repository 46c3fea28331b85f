#!/bin/sh
# Spark runs this program on each worker to find the GPUs there: spark.worker.resource.gpu.discoveryScript on a
# standalone cluster, spark.executor.resource.gpu.discoveryScript elsewhere.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../../../.." && pwd) || exit 1
python=${PYSPARK_PYTHON:-}
# In site-packages, the environment's own Python is next to them; any other one will do as well.
[ -n "$python" ] || { [ -x "$root/../../../bin/python" ] && python="$root/../../../bin/python"; } || python=python3
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m sparktorch_assets.spark.session.gpu.discovery
