"""Text from folders of language models: that of transformers' `generate` on each row alone, whatever batch the row is in."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tiny_folders import GOOD, NULL, POISONED, TEXTS, WRITERS, rows_of_texts, write_writer

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.formats.generation import GeneratingNetwork
from sparktorch_assets.predict.model.formats.random_tokens import RandomTokens, prompt_hash
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    EmbeddingOutput,
    Execution,
    GenerationOutput,
    MlTask,
    ModelSpec,
    NumericFeature,
    TextFeature,
)

CAUSAL, SEQUENCES = ["gpt2", "llama"], ["bart", "t5"]
NEW = 12
LIMITS = {"gpt2": 64 - NEW, "llama": 64 - NEW, "bart": 64, "t5": 64}
LONG = "the very long story of the film " * 20
ROWS = [*TEXTS[:2], LONG, *TEXTS[2:]]
BAD = {POISONED + 1, NULL + 1}
KEPT = [row for row in range(len(ROWS)) if row not in BAD]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each family under one root. Tests must not change them."""
    root = tmp_path_factory.mktemp("writers")
    for family in WRITERS:
        write_writer(root / family, family)
    return root


def a_task(family, **changes):
    given = {
        "name": "writer",
        "model": ModelSpec(weights=family),
        "features": [TextFeature(column="text")],
        "output": GenerationOutput(max_new_tokens=NEW),
        "max_failed_share": 1.0,
    }
    return MlTask(**{**given, **changes})


def by_hand(folder, family, texts, **settings):
    """`generate` for each text alone: new text, number of tokens, and whether the last one is the end token."""
    auto = WRITERS[family][0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = auto.from_pretrained(folder).eval()
    found = []
    for text in texts:
        given = tokenizer(text, return_tensors="pt", truncation=True, max_length=LIMITS[family])
        if not given["input_ids"].numel():
            given = {"input_ids": torch.tensor([[0]]), "attention_mask": torch.tensor([[1]])}
        options = {"max_new_tokens": NEW, "do_sample": False, **settings}
        ids = network.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], pad_token_id=1, **options
        )
        new = ids[0, 1 if family in SEQUENCES else given["input_ids"].shape[1] :].tolist()
        ends = network.generation_config.eos_token_id
        length = new.index(ends) + 1 if ends in new else len(new)
        written = tokenizer.decode(new[:length], skip_special_tokens=True)
        found.append((written, length, "stop" if ends in new else "length"))
    return found


def answers(rows):
    return [(row["generated_text"], row["generated_tokens"], row["finish_reason"]) for row in rows]


@pytest.mark.promise("M160", "M161")
@pytest.mark.parametrize("family", list(WRITERS))
def test_texts_are_those_of_generate_for_each_row_alone(folders, family):
    rows = rows_of_texts(a_task(family), folders, ROWS, 4)
    expected = by_hand(folders / family, family, [ROWS[row] for row in KEPT])
    assert {reason for _, _, reason in expected} == {"stop", "length"}
    assert len(set(expected)) > 4, "the texts differ, so that a mixed-up row is seen"
    assert answers([rows[row] for row in KEPT]) == expected
    assert rows[POISONED + 1]["prediction_error"].startswith("forward: IndexError")
    assert rows[NULL + 1]["prediction_error"].startswith("encode: Null")
    assert all(set(answers([rows[row]])[0]) == {None} for row in BAD)
    assert [row for row in range(len(ROWS)) if rows[row]["prediction_error"] is None] == KEPT


@pytest.mark.promise("M160")
@pytest.mark.parametrize("family", CAUSAL)
def test_texts_of_causal_models_are_those_of_the_pipeline(folders, family):
    texts = [TEXTS[row] for row in GOOD]
    write = transformers.pipeline("text-generation", str(folders / family), device="cpu")
    found = write(texts, return_full_text=False, max_new_tokens=NEW, do_sample=False)
    rows = rows_of_texts(a_task(family), folders, texts, 3)
    assert [row["generated_text"] for row in rows] == [one[0]["generated_text"] for one in found]


@pytest.mark.promise("M162")
def test_a_template_writes_what_a_folders_chat_template_does(folders, tmp_path):
    """For one turn; a plain text is not made a chat of."""
    shutil.copytree(folders / "gpt2", tmp_path / "gpt2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "gpt2")
    tokenizer.chat_template = "{% for message in messages %}user: {{ message['content'] }}; it was {% endfor %}"
    tokenizer.save_pretrained(tmp_path / "gpt2")
    texts = ["dull", "the plot", "a very long film"]
    write = transformers.pipeline("text-generation", str(tmp_path / "gpt2"), device="cpu")
    chats = [[{"role": "user", "content": text}] for text in texts]
    found = write(chats, return_full_text=False, max_new_tokens=NEW, do_sample=False)
    feature = TextFeature(column="text", template="user: {text}; it was ")
    rows = rows_of_texts(a_task("gpt2", features=[feature]), tmp_path, texts, 3)
    assert [row["generated_text"] for row in rows] == [one[0]["generated_text"] for one in found]
    plain = rows_of_texts(a_task("gpt2"), tmp_path, texts, 3)
    assert answers(plain) == answers(rows_of_texts(a_task("gpt2"), folders, texts, 3)) != answers(rows)


SETTINGS = {
    "beams": {"num_beams": 3, "length_penalty": 0.5, "early_stopping": True},
    "penalty": {"repetition_penalty": 1.7},
    "ngrams": {"no_repeat_ngram_size": 2},
    "beams and ngrams": {"num_beams": 2, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "shortest": {"min_new_tokens": 7},
}


@pytest.mark.promise("M163")
@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("beams", "bart"),
        ("beams", "gpt2"),
        ("penalty", "gpt2"),
        ("penalty", "llama"),
        ("penalty", "bart"),
        ("ngrams", "llama"),
        ("beams and ngrams", "gpt2"),
        ("shortest", "t5"),
    ],
)
def test_settings_mean_what_they_mean_to_generate(folders, name, family):
    """Whether the task declares them, or the folder's generation_config.json. Nor does padding count, which may be the
    end token."""
    texts = [ROWS[row] for row in KEPT]
    expected = by_hand(folders / family, family, texts, **SETTINGS[name])
    declared = a_task(family, output=GenerationOutput(max_new_tokens=NEW, **SETTINGS[name]))
    assert answers(rows_of_texts(declared, folders, texts, 4)) == expected
    assert expected != by_hand(folders / family, family, texts)


@pytest.mark.promise("M163")
@pytest.mark.parametrize("family", ["llama", "bart"])
def test_a_folders_own_settings_are_the_defaults(tmp_path, family):
    write_writer(tmp_path / family, family, repetition_penalty=1.7, max_new_tokens=5, do_sample=True, top_p=0.5)
    texts = [TEXTS[row] for row in GOOD]
    expected = by_hand(tmp_path / family, family, texts, max_new_tokens=5)
    found = ModelLoader(tmp_path).find_task(a_task(family, output=GenerationOutput()))
    assert found.output.max_new_tokens == 5
    assert answers(rows_of_texts(a_task(family, output=GenerationOutput()), tmp_path, texts, 3)) == expected
    plain = a_task(family, output=GenerationOutput(max_new_tokens=5, repetition_penalty=1.0))
    assert answers(rows_of_texts(plain, tmp_path, texts, 3)) != expected


@pytest.mark.promise("M164")
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize(
    "options",
    [{}, {"repetition_penalty": 1.7}, {"do_sample": True, "temperature": 1.5, "top_p": 0.95}],
    ids=["greedy", "penalty", "drawn"],
)
def test_a_row_gets_the_same_text_in_every_batch(folders, family, options):
    """In any order, and among rows of any length."""
    task = a_task(family, output=GenerationOutput(max_new_tokens=NEW, **options))
    texts = [ROWS[row] for row in KEPT]
    expected = dict(zip(texts, answers(rows_of_texts(task, folders, texts, 1)), strict=True))
    generator = np.random.default_rng(5)
    for _ in range(6):
        order = generator.permutation(texts * 2)[: generator.integers(2, 12)].tolist()
        rows = rows_of_texts(task, folders, order, int(generator.integers(1, 12)))
        assert answers(rows) == [expected[text] for text in order]


@pytest.mark.promise("M165")
def test_drawn_texts_follow_seed_and_prompt(folders):
    def drawn(texts, **options):
        output = GenerationOutput(max_new_tokens=NEW, do_sample=True, **options)
        return answers(rows_of_texts(a_task("llama", output=output), folders, texts, 4))

    texts = [TEXTS[row] for row in GOOD]
    first = drawn(texts)
    assert first == drawn(texts)
    assert first != drawn(texts, seed=1)
    assert first != answers(rows_of_texts(a_task("llama"), folders, texts, 4))
    assert drawn(texts, top_k=1) == answers(rows_of_texts(a_task("llama"), folders, texts, 4))


@pytest.mark.promise("M165")
def test_tokens_are_drawn_by_their_probability():
    """Chi-squared: 19 degrees of freedom stay below 50 in all but one of 10,000 samples."""
    torch.manual_seed(3)
    logits = torch.randn(20)
    ids = torch.arange(40_000)[:, None]
    rows = prompt_hash(ids, torch.ones_like(ids, dtype=torch.bool), seed=-7)
    for tokens in (1, 5):
        drawn = RandomTokens(rows, 1)(ids.expand(-1, tokens), logits.expand(len(ids), -1)).argmax(dim=1)
        expected = logits.softmax(dim=0) * len(ids)
        assert ((drawn.bincount(minlength=20) - expected) ** 2 / expected).sum() < 50


def test_the_hash_of_a_prompt_does_not_know_its_padding():
    ids, more = torch.tensor([[5, 6, 7]]), torch.tensor([[9, 9, 5, 6, 7]])
    whole = torch.ones_like(ids, dtype=torch.bool)
    padded = torch.tensor([[False, False, True, True, True]])
    assert prompt_hash(ids, whole, 3) == prompt_hash(more, padded, 3)
    others = [(ids.flip(1), whole, 3), (ids, whole, 4), (more, padded.logical_not(), 3), (ids[:, :2], whole[:, :2], 3)]
    assert len({prompt_hash(*one).item() for one in [(ids, whole, 3), *others]}) == 5


@pytest.mark.promise("M166")
def test_what_is_left_out_comes_from_the_folder(folders, capsys):
    loader = ModelLoader(folders)
    for family in WRITERS:
        found = loader.find_task(
            MlTask(
                name="w",
                model=ModelSpec(weights=family),
                features=[TextFeature(column="t")],
                output=GenerationOutput(max_new_tokens=NEW),
            )
        )
        (feature,) = found.features
        assert (feature.tokenizer, feature.max_tokens) == (f"{family}/tokenizer.json", LIMITS[family])
        assert (found.output.max_new_tokens, found.output.clean_up_tokenization_spaces) == (NEW, False)
        assert loader.find_task(found) is found, "a complete task needs no folder"
    derived = loader.find_task(MlTask(name="w", model=ModelSpec(weights="t5"), features=[TextFeature(column="t")]))
    assert derived.output == GenerationOutput(max_new_tokens=256, clean_up_tokenization_spaces=False)
    sparktorch_assets.describe_model(folders / "llama")
    found = capsys.readouterr().out
    assert "  network     LlamaForCausalLM\n  output      not known: max_new_tokens=256 leaves no room" in found
    assert "  max_tokens  64, the new ones included" in found
    sparktorch_assets.describe_model(folders / "t5")
    assert "  output      {kind: generation, max_new_tokens: 256" in capsys.readouterr().out


@pytest.mark.promise("M166")
def test_max_length_of_a_sequence_model_counts_the_token_that_starts_it(tmp_path):
    write_writer(tmp_path / "bart", "bart", max_length=9)
    found = ModelLoader(tmp_path).find_task(a_task("bart", output=GenerationOutput()))
    assert found.output.max_new_tokens == 8
    rows = rows_of_texts(a_task("bart", output=GenerationOutput()), tmp_path, [TEXTS[row] for row in GOOD], 3)
    expected = by_hand(tmp_path / "bart", "bart", [TEXTS[row] for row in GOOD], max_new_tokens=None)
    assert answers(rows) == expected


@pytest.mark.promise("M167")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": GenerationOutput(max_new_tokens=64)}, r"max_new_tokens=64 leaves no room for a prompt in the 64"),
        (
            {"features": [TextFeature(column="text", max_tokens=60)]},
            r"max_tokens=60 .* the 52 tokens .* with max_new_tokens=12",
        ),
        ({"model": ModelSpec(weights="mood")}, r"a BertForSequenceClassification, which writes no text"),
    ],
)
def test_what_does_not_fit_the_folder_is_refused(folders, tmp_path, changes, message):
    shutil.copytree(folders / "gpt2", tmp_path / "gpt2")
    (tmp_path / "mood").mkdir()
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    (tmp_path / "mood" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"task 'writer': .*{message}"):
        ModelLoader(tmp_path).find_task(a_task("gpt2", **changes))


@pytest.mark.promise("M167")
@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"stop_strings": ["x"]}, {}, "sets stop_strings, which are not supported"),
        ({"min_length": 9}, {}, "sets min_length=9, which counts a prompt's tokens .*; set min_new_tokens"),
        ({"encoder_repetition_penalty": 5.0}, {}, "sets encoder_repetition_penalty, by which .* depend on its padding"),
        ({"encoder_no_repeat_ngram_size": 2}, {}, "sets encoder_no_repeat_ngram_size, .*; remove it there, and set"),
        ({"min_p": 0.1, "do_sample": True}, {"do_sample": True}, "sets min_p, which is not supported with do_sample"),
    ],
)
def test_settings_of_a_folder_that_would_not_be_exact_are_refused(tmp_path, settings, options, message):
    write_writer(tmp_path / "llama", "llama", **settings)
    task = a_task("llama", output=GenerationOutput(max_new_tokens=NEW, **options))
    with pytest.raises(ModelError, match=message):
        ModelLoader(tmp_path).bring_up_model(task, gpu=False)


@pytest.mark.promise("M167")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GenerationOutput(max_new_tokens=3, min_new_tokens=4),
            "min_new_tokens=4 is more than max_new_tokens=3",
        ),
        (lambda: GenerationOutput(temperature=0.5), "temperature is only used to draw tokens .* do_sample: true"),
        (lambda: GenerationOutput(do_sample=True, num_beams=2), "do_sample and num_beams above 1 exclude each other"),
        (lambda: GenerationOutput(do_sample=True, top_p=1.5), "top_p=1.5 must lie in"),
        (lambda: GenerationOutput(top_k=-1), "top_k=-1 must not be below 0"),
        (lambda: GenerationOutput(max_new_tokens=0), "max_new_tokens=0 must be a number above 0"),
        (lambda: GenerationOutput(do_sample=True, seed=2**63), "seed=.* must be a number of 64 bits"),
        (lambda: a_task("t5", execution=Execution(compile="torch.compile")), "leave out Execution.compile"),
        (lambda: a_task("t5", features=[NumericFeature(columns=["x"])]), "features has none; declare one"),
        (lambda: a_task("t5", labels=["a"]), "labels are given, but output 'generation' has none"),
        (
            lambda: a_task("t5", model=ModelSpec(factory="output_nets:answers")),
            "its output sets max_new_tokens, which apply to the network of a Hugging Face folder",
        ),
    ],
)
def test_declarations_that_cannot_be_meant(make, message):
    with pytest.raises(TaskError, match=message):
        make()


@pytest.mark.promise("M108", "M160")
def test_a_row_with_scores_that_are_nan_fails_and_no_other(tmp_path):
    """The largest of NaN would be some token all the same."""
    network = write_writer(tmp_path / "llama", "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "llama")
    odd = tokenizer.convert_tokens_to_ids("~")
    with torch.no_grad():
        network.get_input_embeddings().weight[odd] = torch.nan
    network.save_pretrained(tmp_path / "llama")
    texts = ["the plot", "the ~ plot", "dull", "a film"]
    rows = rows_of_texts(a_task("llama"), tmp_path, texts, 4)
    assert rows[1]["prediction_error"].startswith("forward: NotFinite: the model gave NaN or infinite scores")
    assert [row["prediction_error"] for row in rows if row["text"] != texts[1]] == [None] * 3


def test_an_empty_prompt_without_a_token_to_begin_with_fails_alone(tmp_path):
    write_writer(tmp_path / "gpt2", "gpt2", bos_token_id=None)
    rows = rows_of_texts(a_task("gpt2"), tmp_path, ["dull", "", "a film"], 3)
    assert [row["prediction_error"] is None for row in rows] == [True, False, True]
    assert "a prompt without tokens, for which the model has no bos_token_id" in rows[1]["prediction_error"]


@pytest.mark.promise("M109")
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_texts_of_another_precision_are_compared_by_their_tokens(folders, family):
    tally = Tally()
    batch = pa.record_batch({"text": [TEXTS[row] for row in GOOD]})
    loader, task = ModelLoader(folders), a_task(family, execution=Execution(precision="bf16"))
    (found,) = predict_map(0, [batch], task, 3, model_loader=loader, tally=tally)
    (exact,) = predict_map(0, [batch], a_task(family), 3, model_loader=loader)
    same = np.mean([a == b for a, b in zip(answers(found.to_pylist()), answers(exact.to_pylist()), strict=True)])
    assert tally.agreement == pytest.approx(same)
    assert tally.confidence_difference == (0.0 if same == 1 else 1.0)


@pytest.mark.promise("M168")
def test_a_table_counts_tokens_ends_and_empty_texts(folders):
    tally, output = Tally(), GenerationOutput(max_new_tokens=NEW, max_cut_share=0.1)
    batch = pa.record_batch({"text": ROWS})
    (found,) = predict_map(
        0, [batch], a_task("llama", output=output), 3, model_loader=ModelLoader(folders), tally=tally
    )
    rows = [row for row in found.to_pylist() if row["prediction_error"] is None]
    reasons = [row["finish_reason"] for row in rows]
    assert tally.classes == {name: reasons.count(name) for name in ("stop", "length")}
    assert tally.marks == {"empty texts": sum(row["generated_text"] == "" for row in rows)}
    numbers = tally.numbers["generated_tokens"]
    tokens = [row["generated_tokens"] for row in rows]
    assert (numbers.count, numbers.minimum, numbers.maximum) == (len(rows), min(tokens), max(tokens))
    (outcome,) = output.checks(tally, ())
    assert (outcome.name, outcome.passed, outcome.details["cut texts"]) == ("texts_end", False, reasons.count("length"))
    assert replace(output, max_cut_share=0.9).checks(tally, ())[0].passed
    assert output.checks(Tally(), ())[0].passed
    assert {"finish_reasons", "generated_tokens", "empty_texts"} <= output.page(tally).keys()
    assert json.loads(output.figures(tally)["finish_reason_shares"])["length"] == reasons.count("length") / len(rows)


@pytest.mark.promise("M169")
@pytest.mark.parametrize("form", ["ids", "dict"])
def test_a_network_of_ones_own_returns_token_ids(form):
    """With the bytes of UTF-8 as tokens, an echo: the text itself, cut after four bytes."""
    task = MlTask(
        name="echo",
        model=ModelSpec(factory="output_nets:echo", arguments={"form": form}),
        features=[TextFeature(column="text")],
        output=GenerationOutput(),
    )
    batch = pa.record_batch({"text": ["abc", "", "abcdefg", "zÿ", "four"]})
    (found,) = predict_map(0, [batch], task, 2, model_loader=ModelLoader("."))
    cut = "length" if form == "ids" else "stop"
    assert answers(found.to_pylist()) == [
        ("abc", 3, "stop"), ("", 0, "stop"), ("abcd", 4, "length"), ("zÿ", 3, "stop"), ("four", 4, cut),
    ]  # fmt: skip


@pytest.mark.promise("M169")
def test_a_result_that_is_no_ids_is_refused():
    task = MlTask(
        name="echo",
        model=ModelSpec(factory="output_nets:echo", arguments={"form": "floats"}),
        features=[TextFeature(column="text")],
        output=GenerationOutput(),
    )
    with pytest.raises(ModelError, match=r"task 'echo': .* of torch.float32 for 1 rows; a generation needs the ids"):
        list(predict_map(0, [pa.record_batch({"text": ["abc"]})], task, 2, model_loader=ModelLoader(".")))


def test_answers_of_a_model_object_are_checked():
    columns = {
        "generated_text": ("yes", None, "no", "no", "yes"),
        "generated_tokens": (1, 1, -1, None, 1),
        "finish_reason": ("stop", "stop", None, None, "tired"),
    }
    task = MlTask(
        name="t",
        model=ModelSpec(factory="output_nets:answers", arguments=columns),
        features=[NumericFeature(columns=["x"])],
        output=GenerationOutput(),
        max_failed_share=1.0,
    )
    batch = pa.record_batch({"x": [0.0, 1.0, 2.0, 3.0, 4.0]})
    (found,) = predict_map(0, [batch], task, 8, model_loader=ModelLoader("."))
    errors = [row["prediction_error"] for row in found.to_pylist()]
    assert [error and error.split(": ")[1] for error in errors] == [None, "NoText", "BadText", None, "BadText"]
    assert found.column("generated_text").to_pylist() == ["yes", None, None, "no", None]


def test_a_folder_serves_other_outputs_next_to_texts(folders):
    """One process holds both: they are not the same network."""
    loader = ModelLoader(folders)
    vectors = a_task(
        "llama", output=EmbeddingOutput(length=16, pooling="mean"), features=[TextFeature(column="text", max_tokens=20)]
    )
    batch = pa.record_batch({"text": ["the plot"]})
    for task, column in ((vectors, "embedding"), (a_task("llama"), "generated_text"), (vectors, "embedding")):
        (found,) = predict_map(0, [batch], task, 3, model_loader=loader)
        assert found.column(column)[0].is_valid
    fewer = a_task("llama", output=GenerationOutput(max_new_tokens=3))
    keys = {loader.cache_key(task) for task in (a_task("llama"), fewer, vectors)}
    assert len(keys) == 3


@pytest.mark.parametrize("cleans", [False, True])
def test_spaces_before_punctuation_are_those_of_the_folders_tokenizer(tmp_path, cleans):
    """WordPiece leaves them; `clean_up_tokenization_spaces` of tokenizer_config.json removes them."""
    from tokenizers import Tokenizer, decoders, models

    words = ["<s>", "<pad>", "</s>", "<unk>", "he", "was", "n't", "here", ",", ".", "'s", "?", "!", "it"]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    write_writer(tmp_path / "t5", "t5")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", model_max_length=64,
        clean_up_tokenization_spaces=cleans,
    ).save_pretrained(tmp_path / "t5")  # fmt: skip
    loader = ModelLoader(tmp_path)
    task = loader.find_task(a_task("t5"))
    assert task.output.clean_up_tokenization_spaces is cleans
    model = loader.bring_up_model(task, gpu=False)
    ids = [4, 5, 6, 7, 8, 13, 10, 9, 11, 2]
    expected = transformers.AutoTokenizer.from_pretrained(tmp_path / "t5").decode(ids, skip_special_tokens=True)
    found = {"sequences": np.array([ids]), "stopped": np.array([True]), "finite": np.array([True])}
    decoded = model.network.decoder.columns([(np.array([0]), found)], 1)
    assert decoded.columns["generated_text"].to_pylist() == [expected]
    assert (" ," in expected) is not cleans


def test_new_tokens_count_as_tokens_of_a_batch(folders):
    """A batch of `max_tokens` holds prompts together with what is written."""
    from sparktorch_assets.tasks import BatchPolicy

    tally, task = Tally(), a_task("t5", batch=BatchPolicy(max_tokens=40))
    model = ModelLoader(folders).bring_up_model(task, gpu=False)
    assert isinstance(model.module, GeneratingNetwork)
    batch = pa.record_batch({"text": ["dull"] * 9})
    list(predict_map(0, [batch], task, None, model_loader=ModelLoader(folders), tally=tally))
    prompt = len(model._encoders[0].encode(batch).collate(np.array([0]))[0][0])
    assert max(map(int, tally.batch_sizes)) == 40 // (prompt + NEW)


def test_nothing_but_json_is_needed_to_know_what_a_folder_writes(folders, tmp_path):
    shutil.copytree(folders / "t5", tmp_path / "t5")
    (tmp_path / "t5" / "config.json").write_text(
        re.sub(r'"model_type": "t5"', '"model_type": "whisper"', (tmp_path / "t5" / "config.json").read_text())
    )
    with pytest.raises(ModelError, match="holds a T5ForConditionalGeneration, which writes no text"):
        ModelLoader(tmp_path).find_task(a_task("t5"))


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_arguments_may_have_the_networks_own_names(tmp_path, family):
    write_writer(tmp_path / family, family)
    named = TextFeature(column="text", argument="input_ids", mask_argument="attention_mask")
    texts = ["the plot was good", "dull"]
    own, usual = (
        rows_of_texts(replace(a_task(family), features=[feature]), tmp_path, texts, 2)
        for feature in (named, TextFeature(column="text"))
    )
    assert own == usual


def test_other_features_are_refused_with_the_way_out(tmp_path):
    """Each row would fail otherwise, with what Python says about arguments."""
    write_writer(tmp_path / "llama", "llama")
    task = replace(a_task("llama"), features=[TextFeature(column="text", type_ids=True)])
    with pytest.raises(ModelError, match=r"3 tensors by position, .* takes input_ids, attention_mask so"):
        rows_of_texts(task, tmp_path, ["the plot"], 1)
