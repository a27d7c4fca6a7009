"""Text on a terminal: how wide it is, how it is cut, padded and set in tables."""

import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import click

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]+")
DOTTED_CIRCLE, LEFT_TO_RIGHT = "\u25cc", "\u200e"


def terminal_width() -> int:
    """Columns of the terminal (``COLUMNS`` if set), 80 where there is none, at least 40."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def allow_any_text() -> None:
    """Print a question mark, not a traceback, where the terminal's encoding lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def char_width(char: str) -> int:
    """Columns a character takes: 0 for marks and invisible ones, 2 for wide ones."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def display_width(text: str) -> int:
    """Columns a text takes."""
    return sum(map(char_width, text))


def one_line(text: str) -> str:
    """Text without line breaks, runs of blanks and control characters, which could steer the terminal."""
    return " ".join(CONTROLS.sub(" ", text).split())


def cut(text: str, width: int) -> str:
    """Text of at most `width` columns; an ellipsis stands for what was cut."""
    if display_width(text) <= width:
        return text
    used, kept = 1, []
    for char in text:
        used += char_width(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def cut_front(text: str, width: int) -> str:
    """Text of at most `width` columns that keeps its end, as fits a dotted name."""
    return text if display_width(text) <= width else cut(text[::-1], width)[::-1]


def pad(text: str, width: int, align: str = "<") -> str:
    """Text cut or filled with blanks to `width` columns."""
    text = cut(text, width)
    fill = " " * (width - display_width(text))
    return fill + text if align == ">" else text + fill


def glyph(char: str) -> str:
    """Form of a character that can stand in a table: marks on a circle, invisible ones as a blank."""
    category = unicodedata.category(char)
    if category.startswith("M"):
        return DOTTED_CIRCLE + char
    if category[0] in "CZ":
        return " "
    return char + LEFT_TO_RIGHT if unicodedata.bidirectional(char) in ("R", "AL") else char


def row(cells: Sequence[str], widths: Sequence[int], styles: Sequence[dict[str, Any]], aligns: str) -> str:
    """One line of a table: cells padded first and styled then, two blanks apart; the last not padded."""
    padded = [pad(cell, width, align) for cell, width, align in zip(cells, widths, aligns, strict=True)]
    padded[-1] = padded[-1].rstrip()
    return "  " + "  ".join(
        click.style(cell, **style) if style else cell for cell, style in zip(padded, styles, strict=True)
    )


def highlight(text: str, matches: Callable[[str], bool]) -> str:
    """Text with the words that `matches` accepts in bold."""
    return re.sub(r"\w+", lambda m: click.style(m[0], fg="yellow", bold=True) if matches(m[0]) else m[0], text)


def excerpt(text: str, width: int, matches: Callable[[str], bool]) -> str:
    """Stretch of the text, at most `width` columns, that holds the most different matching words.

    An earlier stretch wins; it begins at a word.
    """
    text = one_line(text)[:20_000]
    if display_width(text) <= width:
        return text
    words = [(m.start(), m[0].lower()) for m in re.finditer(r"\w+", text)]
    hits = [(at, word) for at, word in words if matches(word)]
    best, begin = 0, 0
    for at, _ in hits:
        inside = len({word for there, word in hits if at <= there < at + width - 12})
        if inside > best:
            best, begin = inside, at
    if begin < width // 2:
        return cut(text, width)
    # a few words before, so that the hit has a context
    begin = max((at for at, _ in words if at <= begin - width // 5), default=begin)
    return cut("…" + text[begin:], width)
