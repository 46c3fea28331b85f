"""Bounds on the memory that a model file can make a process allocate before its content is compared with the
architecture.

A file of a few megabytes can expand to gigabytes: compressed zeros, a header with millions of entries, nested JSON. The
checks here look only at sizes, and cost no more than reading an index.
"""

import json
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from sparktorch_assets.errors import ModelError

MAX_INDEX_BYTES = 4 << 20
"""Maximum size of a safetensors header or of a checkpoint's pickle. An entry takes 100 to 150 bytes, so this allows
some 30,000 tensors; the largest public models have a few thousand per file. The Python objects of such an index take up
to 300 MB."""
MAX_VOCABULARY_BYTES = 32 << 20
"""Maximum size of a vocabulary: a million values of 30 characters. The worst JSON of this size (nested empty lists)
takes 0.6 GB of memory."""
MAX_TOKENIZER_BYTES = 64 << 20
"""Maximum size of a tokenizer: twice the largest public `tokenizers` file (256,000 tokens, 33 MB)."""

_ZIP_END, _ZIP64_LOCATOR = b"PK\x05\x06", b"PK\x06\x07"
_LEGACY_PICKLES = 5  # magic number, protocol, system, the state itself, storage keys


def check_safetensors(path: Path) -> None:
    """Raise `ModelError` if the header is too long; the library checks that tensors fill the file exactly."""
    with path.open("rb") as file:
        first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) == 8 and MAX_INDEX_BYTES < length <= path.stat().st_size:
        raise _too_long(path, "its header", length, MAX_INDEX_BYTES)


def check_checkpoint(path: Path) -> bool:
    """Check a file that `torch.load` is about to read.

    Returns:
        Whether the file is a zip archive (torch's format since 1.6).

    Raises:
        ModelError: it holds compressed records, or a pickle that is too long or builds large objects from little data.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            file.seek(0)
            _check_legacy(path, file)
            return False
    try:
        _check_zip(path)
    except ModelError:
        raise
    except Exception as error:  # a broken archive can raise many kinds of errors
        raise ModelError(f"{path} cannot be read as a state dict: {error}") from error
    return True


def _check_zip(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        file.seek(max(0, size - 98))
        tail = file.read()
        records = archive.infolist()
        # torch must find the same directory as `zipfile`, so nothing may precede or follow the archive.
        if tail[-22:-18] != _ZIP_END or archive.start_dir != _directory_offset(tail, size):  # type: ignore[attr-defined,unused-ignore]
            raise zipfile.BadZipFile("it is not a zip archive from its first byte to its last")
        if any(record.filename.endswith("/constants.pkl") for record in records):
            raise ModelError(
                f"{path} is a TorchScript program, not a state dict; set format: torchscript in its ModelSpec"
            )
        packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
        if packed or sum(record.file_size for record in records) > size:
            raise ModelError(
                f"{path} holds compressed or overlapping records ({(packed or ['...'])[0]}), which expand to "
                f"{sum(record.file_size for record in records):,} bytes from {size:,}; torch.save writes no such "
                f"records. Save it again with torch.save(model.state_dict(), path)"
            )
        for record in records:
            if record.filename.endswith("/data.pkl"):
                if record.file_size > MAX_INDEX_BYTES:
                    raise _too_long(path, record.filename, record.file_size, MAX_INDEX_BYTES)
                if b"\nbytearray\n" in archive.read(record):
                    raise _bytearray(path)


def _directory_offset(tail: bytes, size: int) -> int | None:
    """The offset of the archive's directory, according to the archive's end record."""
    if tail[-42:-38] != _ZIP64_LOCATOR:
        return int(struct.unpack("<I", tail[-6:-2])[0])
    at_98_before_the_end = struct.unpack("<Q", tail[-34:-26])[0] == size - 98
    return int(struct.unpack("<Q", tail[-50:-42])[0]) if at_98_before_the_end else None


def _check_legacy(path: Path, file: BinaryIO) -> None:
    try:
        for _ in range(_LEGACY_PICKLES):
            for code, argument, _ in pickletools.genops(file):
                if code.name == "GLOBAL" and str(argument).endswith(" bytearray"):
                    raise _bytearray(path)
                if file.tell() > MAX_INDEX_BYTES:
                    raise _too_long(path, "its pickle", path.stat().st_size, MAX_INDEX_BYTES)
    except ModelError:
        raise
    except Exception as error:  # a file that is not a pickle can raise many kinds of errors
        raise ModelError(f"{path} cannot be read as a state dict: {error}") from error


def read_json(path: Path, what: str, max_bytes: int) -> Any:
    """The content of a JSON file of at most `max_bytes`; `what` names it in messages.

    Raises:
        ModelError: there is no such file, it is too long, or it is not JSON.
    """
    check_size(path, what, max_bytes)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} file {path} is not JSON ({error})") from None


def check_size(path: Path, what: str, max_bytes: int) -> None:
    """Raise `ModelError` if there is no such file, or if it is longer than `max_bytes`."""
    if not path.is_file():
        raise ModelError(f"there is no {what} file {path}; check the path and the models root")
    if path.stat().st_size > max_bytes:
        raise _too_long(path, f"the {what}", path.stat().st_size, max_bytes)


def _too_long(path: Path, what: str, found: int, limit: int) -> ModelError:
    return ModelError(
        f"{path}: {what} has {found:,} bytes, over the limit of {limit:,}, which no known model comes near; the file "
        f"is broken or crafted to exhaust memory"
    )


def _bytearray(path: Path) -> ModelError:
    return ModelError(
        f"{path} builds byte arrays, which can be of any size; a state dict holds only tensors. Save model.state_dict()"
    )
