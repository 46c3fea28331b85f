"""Whether a task's model files may be opened at all.

Files of some formats are programs, and code that a task names may open the files that it is given in any format. Such
files are opened only if the task pins their content with `sha256` or says `trust_code: true`. This is checked before a
byte of them is interpreted.
"""

from pathlib import Path

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.folder_json import using_settings
from sparktorch_assets.tasks.files.folders.model_folder import ModelFolder
from sparktorch_assets.tasks.files.model_files import check_file, file_sha256, named_files, weights_sha256
from sparktorch_assets.tasks.ml_task import MlTask


def check_weights(task: MlTask, models_root: Path) -> None:
    """Check that the model's files may be opened, before anything does.

    Raises:
        ModelError: opening a file can run code, and the task neither pins its sha256 nor trusts it; or the task pins a
            sha256 other than that of the weights; or the weights are a folder, and there is no factory to open it.
    """
    model = task.model
    check_trust(task, models_root)
    if model.weights is None:
        return
    if model.format not in ("factory", "huggingface") and (models_root / model.weights).is_dir():
        raise ModelError(
            f"task {task.name!r}: {models_root / model.weights} is a folder, and format {model.format!r} is read from one "
            f"file; name the file, or a factory that takes the folder"
        )
    if model.sha256 is None:
        return
    found = weights_sha256(task, models_root)
    if found != model.sha256:
        raise ModelError(
            f"task {task.name!r}: {models_root / model.weights} has sha256 {found}, but the task declares "
            f"{model.sha256}. The file was changed or is another model: restore it, or declare the new digest"
        )


def check_trust(task: MlTask, models_root: Path) -> None:
    """Raise ModelError if opening a file of the model can run code that the task does not trust.

    This concerns weights that are programs, unless `sha256` pins them, and every file that the user's code is given by
    `ModelSpec.files` or by name in `arguments`, because we cannot know in which format that code opens it.
    """
    model = task.model
    if model.trust_code:
        return
    given = dict.fromkeys((*model.files, *named_files(task, models_root)))
    if model.weights is not None:
        given.pop(model.weights, None)  # the weights are checked separately, pinned or not
        path = models_root / model.weights
        code = _code_in_folder(path) if model.format == "huggingface" else model.code_in_weights
        if model.sha256 is None and code is not None:
            pin = "" if given else f"`sha256: {file_sha256(path)}` trusts this very content, "
            raise ModelError(
                f"task {task.name!r}: {path} is not opened: {code}. If you made it yourself or trust "
                f"whoever did, add one line to the task's model: {pin}`trust_code: true` trusts whatever lies there"
            )
    if given:
        raise ModelError(
            f"task {task.name!r}: {', '.join(str(models_root / name) for name in given)} would be given to the code that "
            f"the task names, and most formats of its choice can run code when they load. If you made every such file "
            f"yourself or trust whoever did, add one line to the task's model: `trust_code: true`"
        )


def _code_in_folder(path: Path) -> str | None:
    """What opening the weights of a Hugging Face folder can do besides reading numbers; `None` if they are safetensors.

    Raises:
        ModelError: it is no such folder, or holds no weights.
    """
    check_file(path)
    with using_settings(path):
        folder = ModelFolder(path)
        if not folder.pickled:
            return None
    return (
        f"its weights are a pickle ({folder.weights[0]}), and from such a folder only safetensors are opened unasked. Load "
        f"it with transformers and write it with save_pretrained, which makes safetensors of it"
    )
