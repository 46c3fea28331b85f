"""What a model says of a task's declaration, before it is text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.orchestration.components.scaffold.chosen_columns import choose_columns
from sparktorch_assets.orchestration.components.scaffold.model_request import ModelRequest
from sparktorch_assets.orchestration.components.scaffold.named_model import NamedModel, find_model, is_address
from sparktorch_assets.orchestration.components.scaffold.weights_file import facts_of
from sparktorch_assets.orchestration.components.scaffold.yaml_text import flow, listed
from sparktorch_assets.stores.mlflow_folder import PYTORCH, open_task
from sparktorch_assets.tasks import ClassificationOutput, MlTask, ModelSpec, NumericFeature, RegressionOutput
from sparktorch_assets.tasks.files.folders.model_folder import ModelFolder

_ANY = (NumericFeature(columns=("any",)),)
"""Stands for the features of a task that is made to look at its model."""
_ANY_FEATURES = "Which columns the network reads is not known: correct the kind, the columns and their order."
_ANY_OUTPUT = "What it predicts is not known: correct this as well. Labels are in the order of the logits."
_NO_TOKENIZER = (
    "There is no tokenizer.json next to the file: name the network's tokenizer in the feature, and max_tokens. Without it, "
    "tokens are the bytes of a text."
)
_FLAVORS = (
    "Models of most flavors get the columns that their signature names. Networks of PyTorch or of transformers need to be "
    "told what they read, for instance:"
)
_NO_LABELS = "The folder names no labels, so they are called LABEL_0 and so on: give them in the order of the logits."
_TRUST_MLFLOW = (
    "Networks of transformers run no code when they are opened; other models can. If you trust whoever made it:"
)
_NO_HEAD = (
    "The folder does not say what is predicted. `pooling: mean` makes a row's vector of all vectors that the network gives "
    "for it, and `cls` takes the first one."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A declaration, before it is text."""

    about: str
    """What the model is, for the head of the file."""
    model: Mapping[str, Any]
    features: Sequence[Mapping[str, Any]] = ()
    output: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()
    to_do: Sequence[str] = ()
    """What is left to do, which is shown to the user as well."""
    model_notes: Sequence[str] = ()
    trust: str = ""
    """Why the model needs a line that trusts it."""
    feature_notes: Sequence[str] = ()
    output_notes: Sequence[str] = ()


def draft_of(request: ModelRequest) -> Draft:
    """What is known of the model that the request names.

    Raises:
        ModelError: there is no such model, or it cannot be used as it is; the message says why.
        TaskError: the input has no column that the model may read.
    """
    if is_address(request.model):
        return _of_address(request)
    named = find_model(request.model, request.project_root, request.models_root)
    if not named.path.is_dir():
        draft = _of_file(request, named)
    elif (named.path / "MLmodel").is_file():
        draft = _of_mlflow(request, named)
    else:
        draft = _of_folder(request, named)
    if not named.outside:
        return draft
    away = (
        f"{named.path} lies outside of the models root, so every worker needs it at this very path. Or copy it to "
        f"{named.models_root / named.path.name}, and write `weights: {named.path.name}`."
    )
    return replace(draft, to_do=(away, *draft.to_do))


def _of_address(request: ModelRequest) -> Draft:
    example = flow([{"kind": "text", "column": request.column or "text"}])
    return Draft(
        about=f"The model {request.model} was not looked up.",
        model={"weights": request.model},
        trust=_TRUST_MLFLOW,
        feature_notes=(
            _FLAVORS,
            f"features: {example}",
        ),
    )


def _of_folder(request: ModelRequest, named: NamedModel) -> Draft:
    folder = _folder(named)
    kind = "sentence-transformers folder" if folder.sentence_transformers else "Hugging Face folder"
    columns = choose_columns(request, folder.reads)
    draft = Draft(
        about=f"{named.path.name} is a {kind}: {folder.architecture}.",
        # A name with a dot in it would be taken for that of a file.
        model={"weights": named.weights, **({"format": "huggingface"} if named.path.suffix else {})},
        features=({"kind": folder.reads, "column": columns.names[0], **columns.options},),
        to_do=columns.to_do,
        feature_notes=columns.others,
    )
    try:
        output = folder.output
    except ModelError:
        if not (folder.encodes and folder.vector_length):
            raise
        vectors = {"kind": "embedding", "length": folder.vector_length, "pooling": "mean"}
        return replace(draft, output=vectors, output_notes=(_NO_HEAD,))
    if output.labelled and "id2label" not in folder.config:
        return replace(draft, to_do=(*draft.to_do, _NO_LABELS))
    return draft


def _folder(named: NamedModel) -> ModelFolder:
    try:
        return ModelFolder(named.path)
    except ModelError as error:
        held = sorted(found.name for found in named.path.iterdir() if not found.name.startswith("."))
        raise ModelError(f"{error}. It holds: {listed(held) or 'nothing'}") from None


def _of_mlflow(request: ModelRequest, named: NamedModel) -> Draft:
    model = {"weights": named.weights, "format": "mlflow"}
    probe = MlTask(name=request.name, model=ModelSpec(**model), features=_ANY, output=RegressionOutput())  # type: ignore[arg-type]
    opened = open_task(probe, named.path)[0].model
    draft = Draft(about=f"{named.path.name} is a model of MLflow.", model=model)
    if opened.format == "huggingface":
        columns = choose_columns(request, "text")
        feature = {"kind": "text", "column": columns.names[0]}
        return replace(draft, features=(feature,), to_do=columns.to_do, feature_notes=columns.others)
    draft = replace(draft, trust=_TRUST_MLFLOW)
    if opened.factory is None or opened.factory == PYTORCH:
        columns = choose_columns(request, "numeric")
        numbers = {"kind": "numeric", "columns": columns.names}
        draft = replace(draft, features=(numbers,), to_do=columns.to_do, feature_notes=(_ANY_FEATURES,))
    try:
        open_task(replace(probe, output=ClassificationOutput()), named.path)
    except ModelError:  # it has no signature that says what is predicted
        return replace(draft, labels=("no", "yes"), output_notes=(_ANY_OUTPUT,))
    return draft


def _of_file(request: ModelRequest, named: NamedModel) -> Draft:
    facts = facts_of(named.path)
    kind = facts.feature["kind"]
    columns = choose_columns(request, kind)
    feature = {
        **facts.feature,
        **({"columns": columns.names} if kind == "numeric" else {"column": columns.names[0]}),
        **columns.options,
    }
    to_do = [*columns.to_do]
    if kind == "text" and named.path.with_name("tokenizer.json").is_file():
        feature["tokenizer"] = PurePosixPath(named.weights).with_name("tokenizer.json").as_posix()
    elif kind == "text":
        to_do.append(_NO_TOKENIZER)
    return Draft(
        about=f"{named.path.name} is a {facts.about}.",
        model={"weights": named.weights, **facts.model},
        features=(feature,),
        output={} if facts.labels else {"kind": "regression"},
        labels=facts.labels,
        to_do=to_do,
        model_notes=facts.notes,
        trust=facts.trust,
        feature_notes=(_ANY_FEATURES,) if kind == "numeric" else columns.others,
        output_notes=(_ANY_OUTPUT,),
    )
