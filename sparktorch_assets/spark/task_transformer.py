"""`TaskTransformer`: a task as a stage of a Spark ML pipeline, saved and loaded with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Any, Self, final

from pyspark.ml import Transformer
from pyspark.ml.param import Param, Params
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import predicted_schema, spark_ml_predict
from sparktorch_assets.spark.session.slot_count import is_connect
from sparktorch_assets.tasks.declaration_json import from_json, to_json
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import SlotPolicy

_CLASS = "sparktorch_assets.TaskTransformer"
"""The name by which Spark imports the class of a saved stage. It stays the same if this file moves."""
_DECLARATIONS = {"task": MlTask, "slots": SlotPolicy}
"""The params that are declarations."""
_SECTION = "declarations"
"""The key in a saved stage's metadata under which these stand."""
_ANY: Params = Params._dummy()  # noqa: SLF001  (pyspark's way to declare a param that each instance owns)


def _checked(name: str, what: str, fits: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not fits(value):
            raise TaskError(f"TaskTransformer.{name}={value!r} must be {what}")
        return str(value) if isinstance(value, PurePath) else value

    return convert


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


@final
class TaskTransformer(Transformer, MLReadable["TaskTransformer"], MLWritable):
    """Adds a task's predictions to a DataFrame, as `spark_ml_predict` does, as a stage of a `pyspark.ml.Pipeline`; for
    instance after a `VectorAssembler`, whose vectors a `TensorFeature` reads.

    `write` and `read` keep the whole task as JSON, alone and inside a saved pipeline. Loading runs no code and opens no
    weights. Transforming runs the code that the task names, so load pipelines only from people whose code you would
    run. A task whose hooks are function objects can be used, but not saved.

    Args:
        task: what to do with each row.
        parallel: number of partitions to predict in, as for `spark_ml_predict`.
        batch_size: rows per forward pass, as for `spark_ml_predict`.
        slots: device policy and models per GPU, as for `spark_ml_predict`.
        models_root: the folder that relative paths in the task refer to; the same path on every worker. A relative one
            is saved as it is, and refers to the working directory when rows are transformed.
        output_prefix: a prefix for the names of the added columns; `None` takes the task's.

    Raises:
        TaskError: a value is of another type, or a number is not above zero.
    """

    task: Param[MlTask] = Param(
        _ANY, "task", "what to do with each row", _checked("task", "an MlTask", lambda value: isinstance(value, MlTask))
    )
    parallel: Param[int | None] = Param(
        _ANY,
        "parallel",
        "number of partitions to predict in; None takes the number of slots if there are fewer partitions",
        _checked("parallel", "a whole number above 0, or None", _is_count),
    )
    batch_size: Param[int | None] = Param(
        _ANY,
        "batch_size",
        "rows per forward pass; None takes the task's, else 1,024",
        _checked("batch_size", "a whole number above 0, or None", _is_count),
    )
    models_root: Param[str] = Param(
        _ANY,
        "models_root",
        "the folder that relative paths in the task refer to; the same path on every worker",
        _checked("models_root", "a path", lambda value: isinstance(value, str | PurePath)),
    )
    slots: Param[SlotPolicy | None] = Param(
        _ANY,
        "slots",
        "device policy and models per GPU; None takes the GPUs if there are any, else the cores",
        _checked("slots", "a SlotPolicy, or None", lambda value: isinstance(value, SlotPolicy | None)),
    )
    output_prefix: Param[str | None] = Param(
        _ANY,
        "output_prefix",
        "a prefix for the names of the added columns; None takes the task's",
        _checked("output_prefix", "a string, or None", lambda value: isinstance(value, str | None)),
    )

    def __init__(
        self,
        task: MlTask,
        parallel: int | None = None,
        batch_size: int | None = None,
        *,
        models_root: str | PurePath = "data/models",
        slots: SlotPolicy | None = None,
        output_prefix: str | None = None,
    ) -> None:
        super().__init__()
        self._setDefault(parallel=None, batch_size=None, models_root="data/models", slots=None, output_prefix=None)
        given = {"parallel": parallel, "batch_size": batch_size, "slots": slots, "output_prefix": output_prefix}
        given = {name: value for name, value in given.items() if value is not None}
        self._give(task=task, models_root=models_root, **given)

    def set_task(self, value: MlTask) -> Self:
        """Set what to do with each row."""
        return self._give(task=value)

    def set_parallel(self, value: int | None) -> Self:
        """Set the number of partitions to predict in."""
        return self._give(parallel=value)

    def set_batch_size(self, value: int | None) -> Self:
        """Set the number of rows per forward pass."""
        return self._give(batch_size=value)

    def set_models_root(self, value: str | PurePath) -> Self:
        """Set the folder that relative paths in the task refer to."""
        return self._give(models_root=value)

    def set_slots(self, value: SlotPolicy | None) -> Self:
        """Set the device policy and the number of models per GPU."""
        return self._give(slots=value)

    def set_output_prefix(self, value: str | None) -> Self:
        """Set the prefix for the names of the added columns; `None` takes the task's."""
        return self._give(output_prefix=value)

    def transformSchema(self, schema: StructType) -> StructType:  # noqa: N802  (pyspark's name)
        """The schema of what `transform` returns for rows of this schema.

        Raises:
            InputSchemaError: a column is missing, has the wrong type, or would be overwritten.
        """
        return predicted_schema(self._loader().find_task(self._prefixed_task()), schema)

    def write(self) -> MLWriter:
        """A writer; `save(path)` is short for `write().save(path)`.

        Raises:
            TaskError: a hook is a function object, or an argument is no plain value.
        """
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader["TaskTransformer"]:
        """A reader; `load(path)` is short for `read().load(path)`. Its `load` raises a TaskError if the folder holds
        something else, or what another version has written and this one cannot read."""
        return _Reader()

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return spark_ml_predict(
            dataset.sparkSession,
            dataset,
            self._prefixed_task(),
            self.getOrDefault(self.parallel),
            self.getOrDefault(self.batch_size),
            model_loader=self._loader(),
            slots=self.getOrDefault(self.slots),
        )

    def _prefixed_task(self) -> MlTask:
        task, prefix = self.getOrDefault(self.task), self.getOrDefault(self.output_prefix)
        return task if prefix is None else replace(task, output_prefix=prefix)

    def _loader(self) -> ModelLoader:
        return ModelLoader(self.getOrDefault(self.models_root))

    def _give(self, **values: Any) -> Self:
        # pyspark's own `_set` does not check None.
        return self._set(**{name: self.getParam(name).typeConverter(value) for name, value in values.items()})


class _Writer(MLWriter):
    def __init__(self, stage: TaskTransformer) -> None:
        super().__init__()
        self._stage = stage
        given = {param.name: stage.getOrDefault(param) for param in stage.params if stage.isSet(param)}
        # Before anything that is to be overwritten is removed.
        self._declarations = {name: to_json(given.pop(name)) for name in _DECLARATIONS if given.get(name) is not None}
        self._others = given

    def save(self, path: str) -> None:
        if self.shouldOverwrite and is_connect(self.sparkSession):
            from pyspark.ml.connect.readwrite import RemoteMLWriter

            # pyspark's own way to remove the old folder needs the JVM.
            RemoteMLWriter.handleOverwrite(path, shouldOverwrite=True)
            self.saveImpl(path)
        else:
            super().save(path)

    def saveImpl(self, path: str) -> None:  # noqa: N802  (pyspark's name)
        DefaultParamsWriter.saveMetadata(
            self._stage,
            path,
            self.sparkSession,
            extraMetadata={"class": _CLASS, _SECTION: self._declarations},
            paramMap=self._others,
        )


class _Reader(MLReader[TaskTransformer]):
    def load(self, path: str) -> TaskTransformer:
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        section = metadata.get(_SECTION)
        if metadata.get("class") != _CLASS or not isinstance(section, dict) or "task" not in section:
            raise TaskError(f"{path} holds a {metadata.get('class')}, and no task that {_CLASS} has saved")
        others = (*metadata["paramMap"], *metadata["defaultParamMap"])
        for name, known in (*((name, _DECLARATIONS) for name in section), *((name, _PARAMS) for name in others)):
            if name not in known:
                raise TaskError(f"{path}: TaskTransformer has no param {name!r}; {nearest(name, known)}")
        declared: dict[str, Any] = {name: from_json(data, _DECLARATIONS[name]) for name, data in section.items()}
        stage = TaskTransformer(**declared)
        DefaultParamsReader.getAndSetParams(stage, metadata)
        return stage._resetUid(metadata["uid"])  # noqa: SLF001  (as pyspark's own readers do)


_PARAMS = tuple(name for name, value in vars(TaskTransformer).items() if isinstance(value, Param))
