"""`output: {kind: detection}`: the boxes of transformers' `post_process_object_detection`, in pixels of the original
image."""

import io
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import span_nets
import torch
import transformers
from PIL import Image
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    BatchPolicy,
    ClassificationOutput,
    DetectionOutput,
    Execution,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
)

LABELS = ("cat", "dog", "car")
SIDES = ("x_min", "y_min", "x_max", "y_max")
HEIGHT, WIDTH = 32, 48
SIZES = [(50, 30), (32, 48), None, (90, 200), (7, 5)]
TINY = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}


def backbone(*stages):
    size = {"embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4}
    return {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": transformers.ResNetConfig(**size, out_features=list(stages)),
    }


CONFIGS = {
    "yolos": lambda: transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[HEIGHT, WIDTH],
        patch_size=8,
        num_detection_tokens=7,
    ),
    "detr": lambda: transformers.DetrConfig(
        **TINY, **backbone("stage4"), d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=7
    ),
    "deformable_detr": lambda: transformers.DeformableDetrConfig(
        **TINY,
        **backbone("stage3", "stage4"),
        d_model=32,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=7,
        num_feature_levels=2,
    ),
}
PROCESSORS = {
    "yolos": YolosImageProcessorPil,
    "detr": DetrImageProcessorPil,
    "deformable_detr": DeformableDetrImageProcessorPil,
}
SCORINGS = {"yolos": "softmax", "detr": "softmax", "deformable_detr": "sigmoid"}
MIN_SCORES = {"yolos": 0.3, "detr": 0.45, "deformable_detr": 0.5}


def write_folder(folder, family):
    config = CONFIGS[family]()
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: number for number, label in enumerate(LABELS)}
    torch.manual_seed(5)
    network = transformers.AutoModelForObjectDetection.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and "backbone" not in name:
                parameter.normal_(std=0.5)
    network.save_pretrained(folder)
    processor = PROCESSORS[family](size={"height": HEIGHT, "width": WIDTH}, do_pad=False)
    processor.save_pretrained(folder)
    return network, processor


def images(sizes=SIZES):
    draw = np.random.default_rng(5)
    return [size and Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def stored(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rows_of(task, files, batch_size=2, tally=None, root="."):
    batch = pa.record_batch({"file": pa.array(files, pa.binary())})
    loader = ModelLoader(root)
    found = list(predict_map(0, [batch], task, batch_size, model_loader=loader, tally=tally))
    assert all(part.schema == output_schema(loader.find_task(task), batch.schema) for part in found)
    return [row for part in found for row in part.to_pylist()]


def scene(**output):
    return MlTask(
        name="scene",
        model=ModelSpec(weights="scene"),
        features=[ImageFeature(column="file", height=HEIGHT, width=WIDTH)],
        output=DetectionOutput(**output),
        max_failed_share=1.0,
    )


def by_score(found):
    order = np.argsort(-found["scores"].numpy(), kind="stable")
    return [(found[name].numpy()[order]) for name in ("scores", "labels", "boxes")]


@pytest.mark.promise("M158")
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_boxes_are_those_of_the_image_processor(tmp_path, family):
    network, processor = write_folder(tmp_path / "scene", family)
    files = [b"a broken file" if image is None else stored(image) for image in images()]
    limit = MIN_SCORES[family]
    rows = rows_of(scene(min_score=limit), [*files, None], root=tmp_path)
    good = [place for place, size in enumerate(SIZES) if size is not None]
    assert [place for place, row in enumerate(rows) if row["prediction_error"] is None] == good
    counts = []
    for place in good:
        inputs = processor(images=[images()[place]], return_tensors="pt")
        with torch.inference_mode():
            found = network(pixel_values=inputs["pixel_values"])
        (expected,) = processor.post_process_object_detection(found, threshold=limit, target_sizes=[SIZES[place]])
        scores, labels, boxes = by_score(expected)
        mine = rows[place]["boxes"]
        np.testing.assert_allclose([box["score"] for box in mine], scores, atol=1e-5)
        assert [box["label"] for box in mine] == [LABELS[label] for label in labels]
        sides = np.reshape([[box[side] for side in SIDES] for box in mine], (-1, 4))
        np.testing.assert_allclose(sides, boxes, rtol=1e-4, atol=1e-3)
        counts.append(len(mine))
    assert 0 < sum(counts) < len(good) * 7 * (1 if SCORINGS[family] == "softmax" else len(LABELS)), "some are left out"


@pytest.mark.promise("M156")
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_a_folder_says_how_boxes_are_scored(tmp_path, family, capsys):
    write_folder(tmp_path / "scene", family)
    loader, scoring = ModelLoader(tmp_path), SCORINGS[family]
    derived = loader.find_task(replace(scene(), output=ClassificationOutput()))
    assert (derived.output, derived.labels) == (DetectionOutput(scoring=scoring), LABELS)
    assert loader.find_task(scene(max_boxes=3)).output == DetectionOutput(scoring=scoring, max_boxes=3)
    named = loader.find_task(replace(scene(), labels=["a", "b", "c"]))
    assert (named.output.scoring, named.labels) == (scoring, ("a", "b", "c"))
    assert loader.find_task(scene(scoring="softmax")).output.scoring == "softmax"
    assert loader.find_task(derived) is derived
    sparktorch_assets.describe_model(tmp_path / "scene")
    assert (
        f"  output      {{kind: detection, scoring: {scoring}}}\n  labels      cat, dog, car\n"
        in capsys.readouterr().out
    )


@pytest.mark.promise("M156")
def test_a_model_type_that_is_not_known_is_asked_for(tmp_path):
    folder = tmp_path / "scene"
    write_folder(folder, "yolos")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"model_type": "yolos"', '"model_type": "own"'))
    with pytest.raises(
        ModelError, match=r"'scene': .*model_type 'own', .*declare `labels` and `output: \{kind: detect"
    ):
        ModelLoader(tmp_path).find_task(scene())


def found(height=8, width=8, **changes):
    given = {
        "name": "found",
        "model": ModelSpec(factory="span_nets:finder"),
        "features": [ImageFeature(column="file", height=height, width=width)],
        "labels": ["whole", "quarter"],
        "output": DetectionOutput(),
        "max_failed_share": 1.0,
    }
    return MlTask(**{**given, **changes})


def grey(height, width, level=0.5):
    return Image.fromarray(np.full((height, width, 3), round(255 * level), dtype=np.uint8))


def places(row):
    return [(box["label"], *(box[side] for side in SIDES)) for box in row["boxes"]]


@pytest.mark.promise("M159")
@pytest.mark.parametrize(
    ("size", "options", "whole", "quarter"),
    [
        # height x width of the image; the boxes' x_min, y_min, x_max, y_max
        ((100, 200), {}, (0, 0, 200, 100), (0, 0, 100, 50)),
        # Resized to 16 x 32; the crop of 8 x 8 lies 12 from the left and 4 from above, each pixel being 6.25 of the image.
        ((100, 200), {"shortest_side": 16}, (75, 25, 125, 75), (75, 25, 100, 50)),
        ((200, 100), {"shortest_side": 8}, (0, 50, 100, 150), (0, 50, 50, 100)),
        ((8, 8), {"shortest_side": 8}, (0, 0, 8, 8), (0, 0, 4, 4)),
    ],
)
def test_places_are_pixels_of_the_original_image(size, options, whole, quarter):
    task = found(features=[ImageFeature(column="file", height=8, width=8, **options)])
    (row,) = rows_of(task, [stored(grey(*size))])
    assert places(row) == [("quarter", *quarter), ("whole", *whole)], "the best score comes first"


@pytest.mark.promise("M159")
@pytest.mark.parametrize("turned", [True, False])
def test_places_are_those_of_the_turned_image(turned):
    image = grey(100, 200)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    feature = ImageFeature(column="file", height=8, width=8, exif_orientation=turned)
    (row,) = rows_of(found(features=[feature]), [stored(image, "JPEG", exif=exif)])
    assert places(row)[1][1:] == ((0, 0, 100, 200) if turned else (0, 0, 200, 100))


def test_images_of_16_bits_and_fills_have_places_too():
    ramp = np.full((20, 40), 30_000, dtype=np.uint16)
    task = found(features=[ImageFeature(column="file", height=8, width=8, channels=1, shortest_side=10, fill=0.5)])
    rows = rows_of(task, [stored(Image.fromarray(ramp)), None])
    assert places(rows[0])[1][1:] == (12, 2, 28, 18)
    assert places(rows[1])[1][1:] == (0, 0, 8, 8)


@pytest.mark.promise("M108")
def test_nan_and_raising_rows_fail_alone():
    levels = [0.5, 0.05, 0.4, 0.95, 0.6]
    files = [stored(grey(10, 10 + place, level)) for place, level in enumerate(levels)]
    tally = Tally()
    rows = rows_of(found(), [*files, None, b"broken"], batch_size=3, tally=tally)
    errors = [row["prediction_error"] for row in rows]
    assert errors[1] == "forward: NotFinite: the model gave NaN or infinite logits or boxes"
    assert errors[3].startswith("forward: ValueError: a poisoned row")
    assert errors[5].startswith("encode: Null")
    assert errors[6].startswith("encode: UnidentifiedImageError")
    assert [places(row)[1][3] for row in rows if row["boxes"] is not None] == [10, 12, 14]
    assert (tally.predicted, tally.failed) == (3, 4)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_equal_images_have_their_own_boxes(deduplicate):
    sizes = [10, 20, 10, 30, 20, 10]
    task = found(batch=BatchPolicy(deduplicate=deduplicate))
    rows = rows_of(task, [stored(grey(size, size)) for size in sizes])
    assert [places(row)[1][3] for row in rows] == sizes


@pytest.mark.promise("M158")
def test_options_choose_the_best_boxes():
    files = [stored(grey(10, 10))]
    best = math.exp(5) / (math.exp(5) + 2 * math.exp(-9))
    (row,) = rows_of(found(output=DetectionOutput(max_boxes=1)), files)
    assert [box["label"] for box in row["boxes"]] == ["quarter"]
    assert row["boxes"][0]["score"] == pytest.approx(best, rel=1e-6)
    tally = Tally()
    (row,) = rows_of(found(output=DetectionOutput(min_score=1.0)), files, tally=tally)
    assert row["boxes"] == []
    assert tally.marks == {"rows without a box": 1}
    sigmoid = found(
        output=DetectionOutput(scoring="sigmoid", min_score=0.0),
        model=ModelSpec(factory="span_nets:finder", arguments={"extra": 0}),
    )
    (row,) = rows_of(sigmoid, files)
    assert [box["label"] for box in row["boxes"]][:2] == ["quarter", "whole"]
    assert sorted(places(row)) == [
        ("quarter", 0, 0, 5, 5), ("quarter", 0, 0, 10, 10), ("whole", 0, 0, 5, 5), ("whole", 0, 0, 10, 10),
    ], "a query may have several labels"  # fmt: skip


@pytest.mark.promise("M155")
def test_statistics_and_checks():
    tally = Tally()
    task = found()
    rows_of(task, [stored(grey(10, 10)), stored(grey(10, 20))], tally=tally)
    assert tally.classes == {"quarter": 2, "whole": 2}
    assert (tally.numbers["boxes per row"].minimum, tally.numbers["score"].count, tally.marks) == (2, 4, {})
    assert [(one.name, one.passed) for one in task.output.checks(tally, task.labels)] == [
        ("scores_in_range", True), ("labels_within_declared", True), ("boxes_in_place", True),
    ]  # fmt: skip
    assert not task.output.checks(tally, ["whole"])[1].passed
    assert list(task.output.page(tally)["boxes"].counts) == [("quarter", 2), ("whole", 2)]
    assert task.output.figures(Tally()) == {"label_shares": "{}"}
    assert task.output.page(Tally())["rows_without_box"] == 0


@pytest.mark.promise("M109")
def test_precisions_are_compared_by_boxes():
    for scoring, extra in (("softmax", 1), ("sigmoid", 0)):
        tally = Tally()
        task = found(
            output=DetectionOutput(scoring=scoring),
            model=ModelSpec(factory="span_nets:finder", arguments={"extra": extra}),
            execution=Execution(precision="bf16"),
        )
        rows_of(task, [stored(grey(10, 10)), stored(grey(10, 10, 0.05))], tally=tally)
        assert tally.agreement == 1.0
        assert tally.confidence_difference < 0.01


@pytest.mark.promise("M106")
@pytest.mark.parametrize(
    ("output", "labels", "message"),
    [
        (DetectionOutput(), ["a", "b", "c"], r"expected \(1, 2, 4\) and \(1, 2, 4\), with one logit per label and one"),
        (DetectionOutput(scoring="sigmoid"), ["a", "b"], r"expected \(1, 2, 2\) .* per label \(scoring: sigmoid\)"),
    ],
)
def test_logits_of_another_shape_are_refused(output, labels, message):
    with pytest.raises(ModelError, match=rf"task 'found': .*shape \(1, 2, 3\) .*{message}"):
        rows_of(found(output=output, labels=labels), [stored(grey(4, 4))])


BOX = {"label": "a", "score": 0.5, "x_min": -1.0, "y_min": 2.0, "x_max": 3.0, "y_max": 4.0}


@pytest.mark.promise("M154")
@pytest.mark.parametrize(
    ("boxes", "valid"),
    [
        ([BOX, BOX], True),
        ([], True),
        (None, False),
        ([BOX, None], False),
        ([{**BOX, "y_max": None}], False),
        ([{**BOX, "y_max": 1.0}], False),
        ([{**BOX, "x_min": -3.0, "x_max": -1.0}], False),
        ([{**BOX, "x_max": math.nan}], False),
        ([{**BOX, "score": -0.5}], False),
    ],
)
def test_what_a_model_object_answers_is_checked(boxes, valid):
    task = MlTask(
        name="t",
        model=ModelSpec(factory="span_nets:answers", arguments={"column": "boxes"}),
        features=[],
        labels=["a"],
        output=DetectionOutput(),
        max_failed_share=1.0,
    )
    span_nets.HELD[:] = [[BOX], boxes, []]
    rows = rows_of(task, [b"x", b"y", b"z"], batch_size=3)
    assert (rows[0]["boxes"], rows[2]["boxes"]) == ([BOX], [])
    assert rows[1]["boxes"] == (boxes if valid else None)
    assert (rows[1]["prediction_error"] or "forward: NoBoxes").startswith("forward: NoBoxes")


@pytest.mark.promise("M157")
def test_a_task_without_one_image_is_refused():
    with pytest.raises(
        TaskError, match=r"output 'detection' gives places in the image of a row, .* 0 features of kind im"
    ):
        found(features=[NumericFeature(columns=["x"])])
    with pytest.raises(TaskError, match=r"min_score=1\.5"):
        DetectionOutput(min_score=1.5)
    with pytest.raises(TaskError, match=r"max_boxes=0"):
        DetectionOutput(max_boxes=0)


@pytest.mark.promise("M143")
@pytest.mark.parametrize("options", [{"min_score": 0.4}, {"max_boxes": 3}, {"scoring": "softmax"}])
def test_options_for_tensors_are_refused_for_a_model_object(options):
    task = MlTask(
        name="t",
        model=ModelSpec(factory="span_nets:answers", arguments={"column": "boxes"}),
        features=[],
        labels=["a"],
        output=DetectionOutput(**options),
    )
    with pytest.raises(ModelError, match=f"its output sets {next(iter(options))}, which is applied to a network's"):
        rows_of(task, [b"x"])
