"""The running Spark task's partition number and GPUs, which determine the device of its slot."""


def task_place() -> tuple[int, tuple[str, ...]]:
    """The running Spark task's partition number and the GPU addresses that Spark gave it; `(0, ())` outside of a
    task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        return 0, ()
    gpus = (context.resources() or {}).get("gpu")
    return context.partitionId(), tuple(gpus.addresses) if gpus else ()
