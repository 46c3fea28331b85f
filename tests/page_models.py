"""Tiny models in the places that the declarations of docs/ name, and rows for them."""

import datetime as dt
import io
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import transformers
from mlflow_world import infer_signature, mlflow, no_warnings
from PIL import Image
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny_folders import write_classifier, write_network, write_tokenizer, write_writer
from tiny_onnx import write_texts
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil


def png(level):
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (level, 0, 255 - level)).save(file, "PNG")
    return file.getvalue()


def wav(seed):
    file = io.BytesIO()
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, 4_000 + seed).astype(np.float32)
    soundfile.write(file, wave, 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


TEXTS = ["the plot was good", "a very dull story"]
COLUMNS = {
    "review": TEXTS,
    "caption": TEXTS,
    "body": TEXTS,
    "distance": [730.0, 1400.0],
    "departure_delay": [-4.0, 45.0],
    "carrier": ["DL", "XX"],
    "origin": ["JFK", "LGA"],
    "heart_rates": [[61.0, 64.0, 70.0], [80.0]],
    "window": [[[1.0] * 4] * 3, [[2.0] * 4] * 3],
    "sales": [[1.0] * 28, [2.0] * 28],
    "photo": [png(0), png(200)],
    "photo_path": ["one.png", "two.png"],
    "file": [png(0), png(200)],
    "recording": [wav(1), wav(2)],
    "departure": [dt.datetime(2013, 1, 1, hour, tzinfo=dt.UTC) for hour in (6, 18)],
}
"""Two rows of each column that the pages name."""


def write_photos(folder):
    folder.mkdir()
    for name, photo in zip(COLUMNS["photo_path"], COLUMNS["photo"], strict=True):
        (folder / name).write_bytes(photo)


class Recorder(torch.nn.Module):
    """Remembers the arguments of its last call."""

    def __init__(self):
        super().__init__()
        self.zero = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.positional, self.named = (), {}

    def forward(self, *positional, **named):
        RECORDED[:] = [positional, named]
        first = next(iter((*positional, *named.values())))
        return self.zero.expand(len(first), 1)


RECORDED = []


def recorder(_path, _device):
    return Recorder()


def risk():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()


def exported():
    return torch.export.export(risk(), (torch.zeros(4, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},))


def write_sentences(root):
    write_tokenizer(root / "network")
    write_network(root / "network", auto=transformers.AutoModel, hidden_size=384)
    transformer = Transformer(str(root / "network"))
    modules = [transformer, Pooling(384, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(root / "all-MiniLM-L6-v2"))


def write_price(root):
    def price(model_input: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"price": model_input["distance"] * 0.2})

    example = pd.DataFrame({"distance": [1.0]})
    with no_warnings():
        signature = infer_signature(example, price(example))

        class Price(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):
                return price(model_input)

        mlflow.pyfunc.save_model(str(root / "price"), python_model=Price(), pip_requirements=[], signature=signature)


def write_onnx_sentiment(root):
    write_texts(root / "sentiment.onnx")
    write_tokenizer(root / "sentiment")


def write_delay(root):
    from my_project.nets import DelayNet

    save_file(DelayNet(32).state_dict(), root / "delay.safetensors")


def write_forecast(root):
    from my_project.forecast import Forecast

    save_file(Forecast().state_dict(), root / "forecast.safetensors")


def write_torchscript(root):
    with no_warnings():  # torch's own: TorchScript is deprecated
        torch.jit.script(risk()).save(root / "risk.ts")


def write_package(root):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    with no_warnings():  # torch's own, while it compiles
        torch._inductor.aoti_compile_and_package(
            exported(),
            package_path=str(root / "risk_compiled.pt2"),
            inductor_configs={"aot_inductor.compile_wrapper_opt_level": "O0", "cpp.dynamic_threads": True},
        )


def write_scorer(root):
    network = torch.nn.Linear(2, 2)
    (root / "scorer").mkdir()
    saved = {"arguments": {"in_features": 2, "out_features": 2}, "weights": network.state_dict()}
    torch.save(saved, root / "scorer" / "scorer.pt")


def write_entities(root):
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    write_tokenizer(root / "entities")
    write_network(root / "entities", auto=transformers.AutoModelForTokenClassification, id2label=labels)


def write_objects(root):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.YolosConfig(**size, image_size=[640, 640], patch_size=64, num_detection_tokens=7)
    config.id2label = {0: "cat", 1: "dog"}
    transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(root / "objects")
    processor = YolosImageProcessorPil(size={"height": 640, "width": 640}, do_pad=False)
    processor.save_pretrained(root / "objects")


def write_emotion(root):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    filters = {"conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
    config = transformers.Wav2Vec2Config(**size, **filters, **positions, vocab_size=4, id2label={0: "calm", 1: "angry"})
    transformers.AutoModelForAudioClassification.from_config(config).save_pretrained(root / "emotion")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(root / "emotion")


MODELS = {
    "sentiment": lambda root: write_classifier(root / "sentiment"),
    "sentiment_top": lambda root: write_classifier(root / "sentiment"),
    "review_vectors": write_sentences,
    "review_embedding": write_sentences,
    "price": write_price,
    "sentiment_onnx": write_onnx_sentiment,
    "delay": write_delay,
    "arrival": write_delay,
    "risk": lambda root: torch.export.save(exported(), root / "risk.pt2"),
    "risk_torchscript": write_torchscript,
    "risk_compiled": write_package,
    "scorer": write_scorer,
    "rule": lambda root: None,
    "topics": lambda root: write_classifier(
        root / "topics", labels=("price", "plot"), problem_type="multi_label_classification"
    ),
    "forecast": write_forecast,
    "entities": write_entities,
    "objects": write_objects,
    "summary": lambda root: write_writer(root / "summarizer", "t5"),
    "emotion": write_emotion,
}
"""What writes the model of each declaration under the models root."""
