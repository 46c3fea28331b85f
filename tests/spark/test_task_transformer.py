"""TaskTransformer: the predictions of spark_ml_predict in a Spark ML pipeline, also after it was saved and loaded."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from page_blocks import blocks_run_by
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler
from safetensors.torch import save_file

import sparktorch_assets
from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.task_transformer import TaskTransformer
from sparktorch_assets.tasks import BatchPolicy, Hooks, MlTask, ModelSpec, RegressionOutput, SlotPolicy, TensorFeature

SLOTS = SlotPolicy(device="cpu")
WEIGHTS = [1.0, 10.0, 100.0]
ROWS = [(1, 1.0, 2.0, 3.0), (2, None, 5.0, 0.0), (3, 0.5, 0.0, 0.0), (4, float("nan"), 1.0, 1.0)]
WANTED = {1: 321.0, 2: None, 3: 0.5, 4: None}


@pytest.fixture
def task(tmp_path):
    save_file({"weight": torch.tensor([WEIGHTS]), "bias": torch.zeros(1)}, tmp_path / "model.safetensors")
    return MlTask(
        name="weighed",
        model=ModelSpec(
            weights="model.safetensors", architecture="torch.nn:Linear", arguments={"in_features": 3, "out_features": 1}
        ),
        features=[TensorFeature(column="v", shape=[3])],
        output=RegressionOutput(),
        batch=BatchPolicy(batch_size=2),
    )


@pytest.fixture
def data(spark):
    return spark.createDataFrame(ROWS, "id long, a double, b double, c double")


@pytest.fixture
def stage(task, tmp_path):
    return TaskTransformer(task, models_root=tmp_path, slots=SLOTS)


def assembler():
    return VectorAssembler(inputCols=["a", "b", "c"], outputCol="v", handleInvalid="keep")


def predicted(found, column="predicted_value"):
    return {row["id"]: row[column] for row in found.collect()}


def saved_metadata(folder):
    """The metadata file of a saved stage: the path and its content."""
    (path,) = (folder / "metadata").glob("part-*")
    (folder / "metadata" / f".{path.name}.crc").unlink(missing_ok=True)  # it would refuse what a test writes
    return path, json.loads(path.read_text())


@pytest.mark.promise("M213")
def test_a_pipeline_is_saved_and_loaded(spark, data, stage, task, tmp_path):
    """After a VectorAssembler; as a pipeline and as its model, the task is the same, and so are the predictions: those
    of spark_ml_predict for the same vectors. A row with a NaN among its numbers fails alone."""
    pipeline = Pipeline(stages=[assembler(), stage])
    model = pipeline.fit(data)
    first = model.transform(data)
    assert predicted(first) == WANTED
    alone = spark_ml_predict(spark, assembler().transform(data), task, model_loader=ModelLoader(tmp_path), slots=SLOTS)
    assert first.schema == alone.schema
    model.write().overwrite().save(str(tmp_path / "model"))
    pipeline.write().save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.read().load(str(tmp_path / "model"))
    again = Pipeline.load(str(tmp_path / "pipeline")).fit(data)
    for found in (loaded, again):
        last = found.stages[-1]
        assert (type(last), last.uid) == (TaskTransformer, stage.uid)
        assert last.extractParamMap() == stage.extractParamMap()
        assert found.transform(data).schema == first.schema
        assert predicted(found.transform(data)) == WANTED


@pytest.mark.promise("M213")
def test_the_example_runs_as_it_stands(spark, tmp_path, monkeypatch):
    """The running session is what `start_session` finds."""
    (block,) = blocks_run_by(__file__)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, block.page, "exec"), {})


@pytest.mark.usefixtures("spark")  # by which Spark ML saves and loads
@pytest.mark.promise("M214")
def test_a_stage_is_saved_and_loaded_alone(stage, tmp_path, monkeypatch):
    """Every param as it was given: a relative models root stays one, and refers to the folder that is current then."""
    stage = TaskTransformer(stage.getOrDefault("task"), 3, 7, models_root="models", slots=SLOTS, output_prefix="p_")
    stage.save(str(tmp_path / "stage"))
    monkeypatch.chdir(tmp_path)
    found = TaskTransformer.load(str(tmp_path / "stage"))
    assert found.extractParamMap() == stage.extractParamMap()
    assert found.uid == stage.uid
    assert found.getOrDefault("models_root") == "models"
    assert found._loader().models_root == tmp_path / "models"
    bare = TaskTransformer(stage.getOrDefault("task"))
    bare.save(str(tmp_path / "bare"))
    found = TaskTransformer.load(str(tmp_path / "bare"))
    assert found.extractParamMap() == bare.extractParamMap()
    assert found._paramMap == bare._paramMap


@pytest.mark.usefixtures("spark")
def test_the_saved_class_has_its_public_name(stage, tmp_path):
    """A saved pipeline does not depend on the file that the class is in."""
    stage.save(str(tmp_path / "stage"))
    _, metadata = saved_metadata(tmp_path / "stage")
    module, _, name = metadata["class"].rpartition(".")
    assert getattr(sys.modules[module], name) is TaskTransformer is sparktorch_assets.TaskTransformer


@pytest.mark.promise("M214")
def test_params_are_those_of_spark_ml(stage, data, task, tmp_path):
    """Setters, copies with other values, values given to `transform`, and their explanation."""
    vectors = assembler().transform(data)
    other = stage.copy({stage.output_prefix: "p_", stage.batch_size: 3})
    assert other.uid == stage.uid
    assert predicted(other.transform(vectors), "p_predicted_value") == WANTED
    assert stage.getOrDefault("output_prefix") is None
    assert predicted(stage.transform(vectors, {stage.output_prefix: "q_"}), "q_predicted_value") == WANTED
    doubled = replace(task, name="doubled", output=RegressionOutput(scale=2.0))
    found = stage.copy().set_task(doubled).set_parallel(2).set_batch_size(1).set_slots(None).set_output_prefix("")
    assert predicted(found.set_models_root(str(tmp_path)).transform(vectors))[1] == 642.0
    assert [param.name for param in stage.params] == [
        "batch_size", "models_root", "output_prefix", "parallel", "slots", "task",
    ]  # fmt: skip
    explained = other.explainParams()
    assert (
        "batch_size: rows per forward pass; None takes the task's, else 1,024 (default: None, current: 3)" in explained
    )
    assert "task: what to do with each row (current: MlTask(name='weighed'" in explained


def test_the_schema_is_known_without_rows(data, stage, task):
    """As `transform` gives it; and a wrong column is found."""
    vectors = assembler().transform(data)
    assert stage.transformSchema(vectors.schema) == stage.transform(vectors).schema
    with pytest.raises(InputSchemaError, match="task 'weighed': features needs column 'v'; Known: a, b, c, id"):
        stage.transformSchema(data.schema)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "weighed"}, r"TaskTransformer\.task='weighed' must be an MlTask"),
        ({"parallel": 0}, r"TaskTransformer\.parallel=0 must be a whole number above 0, or None"),
        ({"batch_size": True}, r"TaskTransformer\.batch_size=True must be a whole number above 0"),
        ({"models_root": None}, r"TaskTransformer\.models_root=None must be a path"),
        ({"slots": 2}, r"TaskTransformer\.slots=2 must be a SlotPolicy, or None"),
        ({"output_prefix": 1}, r"TaskTransformer\.output_prefix=1 must be a string, or None"),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_given(values, message, task, stage):
    with pytest.raises(TaskError, match=message):
        TaskTransformer(**{"task": task, **values})
    (name,) = values
    with pytest.raises(TaskError, match=message):
        getattr(stage, f"set_{name}")(values[name])
    if values[name] is not None:
        with pytest.raises(TaskError, match=message):
            stage.copy({stage.getParam(name): values[name]})


@pytest.mark.promise("M215")
def test_a_function_object_is_used_but_not_saved(stage, task, data, tmp_path):
    """The message says how to name it; what is to be overwritten is still there."""
    stage.save(str(tmp_path / "stage"))
    hooked = stage.copy().set_task(replace(task, hooks=Hooks(row_postprocessor=lambda row: row)))
    assert predicted(hooked.transform(assembler().transform(data))) == WANTED
    with pytest.raises(TaskError, match=r"hooks\.row_postprocessor is a function object .* name it: Hooks\("):
        hooked.write().overwrite().save(str(tmp_path / "stage"))
    assert TaskTransformer.load(str(tmp_path / "stage")).getOrDefault("task") == task


@pytest.mark.promise("M212")
def test_a_module_that_a_saved_task_names_is_not_imported_by_loading(spark, stage, task, tmp_path, monkeypatch):
    """Import paths stay text."""
    (tmp_path / "leaves_a_trace.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\ndef build(*_): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = replace(
        task,
        model=ModelSpec(factory="leaves_a_trace:build", arguments={"a": "leaves_a_trace:build"}),
        hooks=Hooks(row_postprocessor="leaves_a_trace:build"),
    )
    PipelineModel([stage.set_task(named)]).save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    assert loaded.stages[0].getOrDefault("task") == named
    assert not (tmp_path / "trace").exists()


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m["declarations"]["task"]["declaration"]["model"].update({"class": "os.mkdir"}), "no declaration"),
        (lambda m: m["declarations"].pop("task"), r"holds a sparktorch_assets.TaskTransformer, and no task"),
        (lambda m: m.pop("declarations"), "and no task that sparktorch_assets.TaskTransformer has saved"),
        (lambda m: m["paramMap"].update(bach_size=3), "no param 'bach_size'; did you mean 'batch_size'"),
        (lambda m: m["declarations"].update(set_slots={}), "no param 'set_slots'; did you mean 'slots'"),
        (lambda m: m["defaultParamMap"].update(write=3), "no param 'write'"),
        (lambda m: m["paramMap"].update(batch_size="3"), r"batch_size='3' must be a whole number"),
    ],
)  # fmt: skip
def test_an_edited_file_is_refused(edit, message, stage, tmp_path):
    stage.save(str(tmp_path / "stage"))
    path, metadata = saved_metadata(tmp_path / "stage")
    edit(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=message):
        TaskTransformer.load(str(tmp_path / "stage"))


@pytest.mark.usefixtures("spark")
def test_another_stage_is_no_task(stage, tmp_path):
    assembler().save(str(tmp_path / "assembler"))
    with pytest.raises(TaskError, match="holds a org.apache.spark.ml.feature.VectorAssembler, and no task"):
        TaskTransformer.load(str(tmp_path / "assembler"))
