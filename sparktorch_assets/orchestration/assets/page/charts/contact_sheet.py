"""A contact sheet: small pictures of images next to each other, in one JPEG inside Markdown."""

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from sparktorch_assets.orchestration.assets.page.charts.drawing import cut
from sparktorch_assets.orchestration.assets.text.markdown import escape

_TILE_PX, _CAPTION_PX, _GAP_PX = 64, 14, 4
_PER_LINE = 6
_MOST_PIXELS = 1 << 24
"""Larger images are left out: a small file may claim to be a huge image."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_QUALITIES = (70, 50, 30)
_MOST_BYTES = 12_000


def contact_sheet(images: Sequence[tuple[bytes, str]], alternative: str) -> str:
    """The images in Markdown, each with its caption below; empty if none can be read.

    Args:
        images: files with images, each with its caption. Those that cannot be read are left out.
        alternative: what the sheet shows, in words.
    """
    tiles = [(tile, caption) for data, caption in images if (tile := _tile(data)) is not None]
    if not tiles:
        return ""
    lines = -(-len(tiles) // _PER_LINE)
    width, height = _TILE_PX + _GAP_PX, _TILE_PX + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (width * min(len(tiles), _PER_LINE), height * lines), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for place, (tile, caption) in enumerate(tiles):
        x, y = width * (place % _PER_LINE), height * (place // _PER_LINE)
        sheet.paste(tile, (x + (_TILE_PX - tile.width) // 2, y + (_TILE_PX - tile.height) // 2))
        pen.text((x + 1, y + _TILE_PX), cut(caption, 13).replace("…", "..."), fill="black", font=font)
    encoded = base64.b64encode(_jpeg(sheet)).decode("ascii")
    return f"![{escape(alternative)}](data:image/jpeg;base64,{encoded})"


def _tile(data: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            image.draft("RGB", (_TILE_PX, _TILE_PX))  # decodes a large JPEG at a fraction of its size
            return ImageOps.contain(image.convert("RGB"), (_TILE_PX, _TILE_PX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for broken files
        return None


def _jpeg(sheet: Image.Image) -> bytes:
    data = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        sheet.save(file, "JPEG", quality=quality, optimize=True)
        data = file.getvalue()
        if len(data) <= _MOST_BYTES:
            break
    return data
