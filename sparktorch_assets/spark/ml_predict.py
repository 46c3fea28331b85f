"""`spark_ml_predict`: a DataFrame with predictions, lazy and typed, on classic Spark and on Spark Connect.

Rows pass through the JVM as Arrow record batches (`mapInArrow`). For tables that workers can read themselves,
`score_table` is faster.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import functions
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type
from pyspark.sql.types import StructField, StructType

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.spark.sealed_task import SealedTask
from sparktorch_assets.spark.session.gpu.worker_share import share_profile
from sparktorch_assets.spark.session.shipped_code import with_code
from sparktorch_assets.spark.session.slot_count import find_slots, is_connect
from sparktorch_assets.spark.session.worker_pool import workers_for
from sparktorch_assets.spark.session.worker_python import check_session_python, check_worker, driver_version
from sparktorch_assets.spark.task_place import task_place
from sparktorch_assets.spark.utc_batches import in_utc
from sparktorch_assets.spark.worker_errors import as_sent
from sparktorch_assets.storage.scopes import storage_scopes
from sparktorch_assets.tasks.code.imported_code import check_code
from sparktorch_assets.tasks.digest import files_digest
from sparktorch_assets.tasks.files.model_files import check_file
from sparktorch_assets.tasks.files.model_trust import check_trust
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import SlotPolicy, settle_device

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from sparktorch_assets.predict.loader import ModelLoader

RowHook = Callable[[dict[str, Any]], dict[str, Any] | None]
BatchHook = Callable[[Any], Any]

_RUNS_ON_PLANNING = ("AdaptiveSparkPlan", "Exchange", "InMemoryTableScan", "Subquery")
"""Operators for which Spark cannot tell the number of partitions without running a part of the query."""


def spark_ml_predict(
    spark_session: "SparkSession",
    dataframe: "DataFrame",
    ml_task: MlTask | str,
    parallel: int | None = None,
    batch_size: int | None = None,
    row_preprocessor: RowHook | None = None,
    row_postprocessor: RowHook | None = None,
    *,
    batch_preprocessor: BatchHook | None = None,
    batch_postprocessor: BatchHook | None = None,
    model_loader: "ModelLoader | None" = None,
    slots: SlotPolicy | None = None,
) -> "DataFrame":
    """The DataFrame's rows with the task's predictions. Nothing runs until the result is used.

    Args:
        spark_session: the DataFrame's session, classic or Connect.
        dataframe: rows with the task's feature columns; a streaming DataFrame works too.
        ml_task: the task, or the name of one that `model_loader` knows.
        parallel: number of partitions to predict in; the rows are redistributed to it. `None` takes the number of
            slots, and redistributes only a DataFrame that is known to have fewer partitions, because a shuffle costs
            more than it gains if there are enough. The number is not known on Spark Connect, nor for a plan with a
            shuffle before it runs: such DataFrames are not redistributed.
        batch_size: rows per forward pass; `None` takes the task's, else 1,024.
        row_preprocessor: used instead of the task's own hook of this name.
        row_postprocessor: used instead of the task's own.
        batch_preprocessor: used instead of the task's own.
        batch_postprocessor: used instead of the task's own.
        model_loader: brings the model up on the workers; `None` looks for weights under `data/models`.
        slots: device policy and models per GPU. If its device is `auto`, the model loader's is used.

    Returns:
        The task's kept columns with their own types, then the added columns; also for an empty input.

    Raises:
        InputSchemaError: a column is missing, has the wrong type, or would be overwritten.
        UnknownTaskError: there is no task of this name.
        ModelError: the models root exists here, and a file of the model is missing or would run code that is not
            trusted.
        HostError: the session's local workers run a Python without this library. Raised when the result is used: code
            has changed on disk since this call, or a Connect session's workers have imported an older version of it.
        TaskError: `parallel` is not above zero, `slots` and `model_loader` name different devices, or the module of a
            hook, the model or an encoder cannot be found.
    """
    from sparktorch_assets.predict.loader import ModelLoader
    from sparktorch_assets.predict.schema import output_schema

    if parallel is not None and parallel < 1:
        raise TaskError(f"parallel={parallel!r} must be a whole number above 0")
    loader, found = (model_loader or ModelLoader()).settled(ml_task)
    policy = settle_device(slots, loader.device)
    task = found.with_hooks(
        row_preprocessor=row_preprocessor,
        row_postprocessor=row_postprocessor,
        batch_preprocessor=batch_preprocessor,
        batch_postprocessor=batch_postprocessor,
    )
    code = loader.code(task)
    schema = output_schema(task, _arrow_schema(task, dataframe.schema))
    columns = task.read_columns(dataframe.columns)
    # mapInArrow looks up columns by unquoted names (pyspark 4.3), which fails if a name has a dot, so they are renamed
    # to c0, c1 ... on the way.
    selected = dataframe.select(*(functions.col(_quoted(name)).alias(f"c{i}") for i, name in enumerate(columns)))
    check_session_python(spark_session)
    if loader.models_root.is_dir():  # else the files are only on the workers, which check them
        for path in task.files:
            check_file(loader.models_root / path)
        check_trust(task, loader.models_root)
    found_slots = find_slots(spark_session, policy)
    if parallel is not None:
        selected = selected.repartition(parallel)
    elif (_partitions(selected) or found_slots.slots) < found_slots.slots:
        selected = selected.repartition(found_slots.slots)
    elif found_slots.crowded:
        selected = selected.coalesce(found_slots.slots)
    worker = PredictPartition(
        task=task,
        loader=loader,
        policy=policy,
        columns=columns,
        schema=schema,
        batch_size=batch_size,
        concurrent_slots=found_slots.on_a_worker,
        code=code,
        # Copies on the workers may be of another time than this one.
        planned_files=None if loader.store.is_plain else files_digest(task, loader.models_root),
    )
    with workers_for(spark_session, code) as pool:
        return selected.mapInArrow(
            with_code(spark_session, worker, code, pool),
            _spark_schema(task, dataframe.schema, schema),
            profile=share_profile(spark_session, found_slots.share),
        )


def predicted_schema(task: MlTask, schema: StructType) -> StructType:
    """The schema of `spark_ml_predict`'s result for rows of this schema.

    Args:
        task: the task, completed: see `ModelLoader.find_task`.
        schema: the input's.

    Raises:
        InputSchemaError: a column is missing, has the wrong type, or would be overwritten.
    """
    from sparktorch_assets.predict.schema import output_schema

    return _spark_schema(task, schema, output_schema(task, _arrow_schema(task, schema)))


class PredictPartition:
    """The function that a Spark task runs: it brings the model up on its slot's device, and predicts the partition's
    record batches.

    It is defined at module level, so that a worker that has this package unpickles it by name, and so that it can be
    tested without Spark. `columns` are the original names of the incoming columns, and `planned_files` is the driver's
    digest of the model's files, if they are copied to each host.
    """

    def __init__(
        self,
        *,
        task: MlTask,
        loader: "ModelLoader",
        policy: SlotPolicy,
        columns: Sequence[str],
        schema: pa.Schema,
        batch_size: int | None,
        concurrent_slots: int,
        code: Mapping[str, str],
        planned_files: str | None = None,
    ) -> None:
        self._planned_files = planned_files
        self._sealed, self._loader, self._policy = SealedTask(task), loader, policy
        self._columns, self._schema = tuple(columns), schema
        self._batch_size, self._concurrent_slots = batch_size, concurrent_slots
        self._code = code
        self._storage = storage_scopes()
        self._driver_version = driver_version()

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The predictions of one partition's record batches."""
        try:
            yield from self._predict(batches)
        except Exception as error:
            sendable = as_sent(error)
            if sendable is error:
                raise
            raise sendable from None

    def _predict(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        filled = (in_utc(batch.rename_columns(self._columns)) for batch in batches if batch.num_rows)
        first = next(filled, None)
        if first is None:
            return  # an empty partition needs no model
        check_worker(self._driver_version)
        self._storage.use()
        check_code(self._code)
        from sparktorch_assets.predict.local import LocalPredictor
        from sparktorch_assets.predict.partition import predict_batches

        partition_index, gpu_addresses = task_place()
        task, loader = self._sealed.task, self._loader
        if self._planned_files is not None:
            loader, _ = loader.with_planned_files(task, self._planned_files)
        predictor = LocalPredictor(
            task,
            self._batch_size,
            partition_index,
            model_loader=loader,
            slots=self._policy,
            concurrent_slots=self._concurrent_slots,
            gpu_addresses=gpu_addresses,
        )
        with closing(predictor):
            check_code(self._code)
            yield from predict_batches(_prepend(first, filled), predictor=predictor, schema=self._schema)
            predictor.files.check()
            check_code(self._code)


def _prepend(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _arrow_schema(task: MlTask, schema: StructType) -> pa.Schema:
    needed = set(task.read_columns(schema.names))
    fields = []
    for field in schema:
        try:
            fields.append(pa.field(field.name, to_arrow_type(field.dataType, timezone="UTC"), nullable=field.nullable))
        except PySparkException as error:
            if field.name in needed:
                raise InputSchemaError(
                    f"task {task.name!r}: column {field.name!r} has type {field.dataType.simpleString()}, which Arrow "
                    f"cannot carry; cast it, or leave it out of keep_columns"
                ) from error
            fields.append(pa.field(field.name, pa.null()))
    return pa.schema(fields)


def _spark_schema(task: MlTask, given: StructType, schema: pa.Schema) -> StructType:
    """The result's schema. Kept columns are unchanged, including their metadata and nullability."""
    kept = set(task.kept_columns(given.names))
    given_fields = {field.name: field for field in given}
    fields = []
    for field in schema:
        if field.name in kept:
            own = given_fields[field.name]
            # A postprocessor may add nulls.
            nullable = own.nullable or task.hooks.postprocesses
            fields.append(StructField(own.name, own.dataType, nullable, own.metadata))
        else:
            fields.append(StructField(field.name, from_arrow_type(field.type), True))
    return StructType(fields)


def _partitions(dataframe: "DataFrame") -> int | None:
    """The DataFrame's number of partitions; `None` if finding out would run a part of the query."""
    if is_connect(dataframe.sparkSession) or dataframe.isStreaming:
        return None
    execution: Any = dataframe._jdf.queryExecution()  # noqa: SLF001  (`.rdd` would plan the query a second time)
    plan = execution.executedPlan().toString()
    if any(operator in plan for operator in _RUNS_ON_PLANNING):
        return None
    return int(execution.toRdd().getNumPartitions())


def _quoted(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"
