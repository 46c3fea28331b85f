"""Untrusted text on its way to a terminal, a log or a page: messages, class names and headers come from data and from
models, and must neither spill into other lines nor control a terminal.
"""

_CONTROLS = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " "
)
"""Line ends, terminal escapes, and characters that change the direction of the text after them."""
_CONTROLS_BUT_LINE_ENDS = {code: space for code, space in _CONTROLS.items() if code != ord("\n")}


def one_line(text: str) -> str:
    r"""`text` without line ends and control characters, so that it stays on its line and cannot control a terminal.

    >>> one_line("a\nb\x1b[2J")
    'a b [2J'
    """
    return " ".join(text.translate(_CONTROLS).split())


def plain_lines(text: str) -> str:
    r"""`text` with its line ends, and without other control characters.

    >>> plain_lines("a\nb\x1b[2J")
    'a\nb [2J'
    """
    return text.translate(_CONTROLS_BUT_LINE_ENDS)
