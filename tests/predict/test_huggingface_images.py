"""Hugging Face folders for images give the numbers of `transformers.pipeline`, row by row."""

import io
import json
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from PIL import Image

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import ClassificationOutput, ImageFeature, MlTask, ModelSpec

SIZES = [(16, 16), (30, 20), None, (9, 40), (17, 23), (64, 64)]
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def a_task(**image):
    return MlTask(
        name="shapes",
        model=ModelSpec(weights="shapes"),
        features=[ImageFeature(column="file", **{"height": 16, "width": 16} | image)],
        output=ClassificationOutput(scores=True),
        max_failed_share=1.0,
    )


def write_processor(folder, **settings):
    folder.mkdir(exist_ok=True)
    given = {"size": {"height": 16, "width": 16}, "image_mean": MEAN, "image_std": STD, "resample": 3}
    found = {"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 255, **given, **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(found))
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))


def write_network(folder):
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**size, image_size=16, patch_size=4, id2label={0: "circle", 1: "line", 2: "dot"})
    torch.manual_seed(3)
    network = transformers.ViTForImageClassification(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    network.save_pretrained(folder)


def images():
    draw = np.random.default_rng(5)
    return [size and Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


OPEN = {"height": None, "width": None}
CROP = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 20},
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
    "do_convert_rgb": True,
}


@pytest.mark.promise("M128", "M176")
@pytest.mark.parametrize(
    ("processor", "image"),
    [({}, {}), ({}, OPEN), ({"size": 16}, OPEN), (CROP, OPEN), ({**CROP, "crop_size": 16}, OPEN)],
    ids=["declared size", "height and width", "one number", "crop", "crop of one number"],
)
def test_scores_of_images_are_those_of_the_pipeline(processor, image, tmp_path):
    write_network(tmp_path / "shapes")
    write_processor(tmp_path / "shapes", **processor)
    files = [b"a broken file" if image is None else png(image) for image in images()]
    batch = pa.record_batch({"file": pa.array([*files, None], pa.binary())})
    (found,) = predict_map(0, [batch], a_task(**image), 2, model_loader=ModelLoader(tmp_path))
    rows = found.to_pylist()
    classify = transformers.pipeline("image-classification", str(tmp_path / "shapes"), device="cpu")
    expected = classify([image for image in images() if image is not None], top_k=3)
    good = [place for place, size in enumerate(SIZES) if size is not None]
    for row, scores in zip(good, expected, strict=True):
        by_label = {one["label"]: one["score"] for one in scores}
        np.testing.assert_allclose(
            rows[row]["scores"], [by_label[label] for label in ("circle", "line", "dot")], atol=1e-5
        )
        assert rows[row]["predicted_class"] == scores[0]["label"]
    assert [place for place, row in enumerate(rows) if row["prediction_error"] is None] == good


@pytest.mark.promise("M128")
def test_what_an_image_feature_leaves_out_comes_from_the_folder(tmp_path):
    write_processor(tmp_path / "shapes")
    loader = ModelLoader(tmp_path)
    derived = loader.find_task(a_task())
    assert derived.features[0] == a_task(mean=MEAN, std=STD, resample="bicubic").features[0]
    assert loader.find_task(derived) is derived
    own = a_task(mean=[0.1], std=[0.5]).features[0]
    assert loader.find_task(a_task(mean=[0.1], std=[0.5])).features == (own,)
    write_processor(tmp_path / "shapes", do_normalize=False)
    plain = loader.find_task(a_task())
    assert (plain.features[0].mean, plain.features[0].std) == ((0, 0, 0), (1, 1, 1))
    assert loader.find_task(plain) is plain


@pytest.mark.promise("M176")
def test_a_size_that_is_left_out_comes_from_the_folder(tmp_path):
    write_processor(tmp_path / "shapes", **CROP)
    loader = ModelLoader(tmp_path)
    (found,) = loader.find_task(a_task(**OPEN)).features
    assert (found.height, found.width, found.shortest_side, found.crop_offset) == (16, 16, 20, "down")
    (kept,) = loader.find_task(a_task(**OPEN, mean=[0.1], std=[0.5])).features
    assert (kept.mean, kept.std, kept.shortest_side, kept.resample) == ((0.1,), (0.5,), 20, "bicubic")
    with pytest.raises(ModelError, match=r"crops images to their centre, .* leave them out, or give shortest_side"):
        loader.find_task(a_task())
    (own,) = loader.find_task(a_task(shortest_side=18)).features
    assert (own.shortest_side, own.mean) == (18, tuple(MEAN))


@pytest.mark.promise("M176")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (OPEN, "'shapes': ImageFeature.height and width are missing; only a Hugging Face folder"),
        ({"height": None}, "one of height and width is given without the other"),
        ({**OPEN, "shortest_side": 20}, "shortest_side is given, but not what is cut out"),
    ],
)
def test_a_size_is_asked_for_where_no_folder_says_it(given, message):
    with pytest.raises(TaskError, match=message):
        MlTask(**{**vars_of(a_task(**given)), "model": ModelSpec(factory="a:b"), "labels": ["a", "b"]})


def vars_of(task):
    return {field.name: getattr(task, field.name) for field in fields(task)}


@pytest.mark.promise("M128")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_center_crop": True}, "crops images to their centre"),
        ({"do_pad": True}, "pads images"),
        ({"do_resize": False}, "leaves images in their own size"),
        ({"size": {"longest_edge": 256}}, r"resizes images to \{'longest_edge': 256\} instead of"),
        ({"size": {"shortest_edge": 256}}, "resizes images to a shortest edge without a crop"),
        (
            {"size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": 20},
            "crops more than the shortest edge",
        ),
        ({"do_center_crop": True, "crop_size": 8}, "crops images after it has resized them to a fixed size"),
        ({"crop_pct": 0.9}, "by a share of their crop"),
        ({"do_rescale": False}, "does not scale pixels"),
        ({"rescale_factor": 1 / 127.5}, "scales pixels by another number"),
        ({"resample": 5}, "resizes with filter 5"),
        ({"resample": None}, "resizes with filter None"),
        ({"image_mean": None}, "names no image_mean or image_std; give mean and std"),
    ],
)
def test_what_an_image_processor_does_besides_is_refused(tmp_path, settings, message):
    write_processor(tmp_path / "shapes", **settings)
    with pytest.raises(ModelError, match=f"task 'shapes': .*{message}"):
        ModelLoader(tmp_path).find_task(a_task())
    own = {"mean": [0.0] * 3, "std": [1.0] * 3}
    assert ModelLoader(tmp_path).find_task(a_task(**own)).features == a_task(**own).features


@pytest.mark.promise("M125")
def test_describe_model_prints_how_images_are_prepared(tmp_path, capsys):
    write_processor(tmp_path / "shapes")
    sparktorch_assets.describe_model(tmp_path / "shapes")
    lines = capsys.readouterr().out.splitlines()
    assert "  images      16 x 16, mean (0.5, 0.4, 0.3), std (0.2, 0.3, 0.4), resample bicubic" in lines
    assert not [line for line in lines if "max_tokens" in line]
