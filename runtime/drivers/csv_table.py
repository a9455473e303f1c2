"""Tables in text files as programs and spreadsheets write them: rows of cells, read line by line.

Read are UTF-8 and UTF-16, with or without byte order mark; commas, semicolons, tabs and bars between cells; quoted
cells; decimal commas; empty lines, comment lines and lines before the header.
"""

import codecs
import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from hidenerf.runtime.errors import HideNerfError, shown

DELIMITERS = (",", ";", "\t", "|")
COMMENT_SIGNS = ("#", "//", "%")
# Characters of the longest line that is read, and lines in which the header is sought.
MAX_LINE = 1 << 16
HEADER_LINES = 64

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Line = tuple[int, str]
Row = tuple[int, list[str]]


def table_rows(path: Path, is_known: Callable[[str], bool]) -> Iterator[Row]:
    """Yield the header, then each row: line number from 1, and cells without quotes, blanks and decimal commas.

    is_known: whether a cell is a name of a column that is sought. The header is the line with most of them among the
        first; it may be a comment. Without any it is the first line that is no comment.
    Errors: no such file, unreadable, binary data, a line that is longer than `MAX_LINE`.
    """
    try:
        with path.open(encoding=_encoding(path), errors="replace") as stream:
            lines = _lines(path, stream)
            header, delimiter, rest = _find_header(path, list(itertools.islice(lines, HEADER_LINES)), is_known)
            if header is None:
                return
            yield header
            for number, line in itertools.chain(rest, lines):
                if line.strip() and not line.lstrip().startswith(COMMENT_SIGNS):
                    yield number, _cells(line, delimiter)
    except FileNotFoundError:
        raise HideNerfError(f"{path}: no such file; give the path of a CSV file.") from None
    except OSError as error:
        raise HideNerfError(f"{path}: cannot be read ({error.strerror}); check that it is a file of yours.") from None
    except (UnicodeError, csv.Error) as error:
        raise HideNerfError(f"{path}: not a CSV file ({shown(error)}); export the take anew.") from None


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(4)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    # Text of ASCII characters in UTF-16 has a zero byte beside each.
    if len(start) == 4 and start[1] == start[3] == 0 and start[0]:
        return "utf-16-le"
    if len(start) == 4 and start[0] == start[2] == 0 and start[1]:
        return "utf-16-be"
    return "utf-8"


def _lines(path: Path, stream: TextIO) -> Iterator[Line]:
    for number in itertools.count(1):
        line = stream.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise HideNerfError(
                f"{path}: line {number} is longer than {MAX_LINE} characters; not a CSV file with a row a frame."
            )
        if not line:
            return
        yield number, line.rstrip("\n")


def _find_header(path: Path, start: list[Line], is_known: Callable[[str], bool]) -> tuple[Row | None, str, list[Line]]:
    """The header (None in an empty file), the delimiter, and the lines after the header."""
    best, header, delimiter, end = 0, None, DELIMITERS[0], 0
    for index, (number, line) in enumerate(start):
        text = line.lstrip("".join(COMMENT_SIGNS) + " \t") if line.lstrip().startswith(COMMENT_SIGNS) else line
        for candidate in DELIMITERS:
            cells = _cells(text, candidate)
            known = sum(map(is_known, cells))
            if known > best:
                best, header, delimiter, end = known, (number, cells), candidate, index + 1
    if header is not None:
        return header, delimiter, start[end:]
    if any(not (character.isprintable() or character.isspace()) or character == "\ufffd" for character in _text(start)):
        raise HideNerfError(f"{path}: not a CSV file (it holds binary data); export the take anew.")
    for index, (number, line) in enumerate(start):
        if line.strip() and not line.lstrip().startswith(COMMENT_SIGNS):
            delimiter = max(DELIMITERS, key=line.count)
            return (number, _cells(line, delimiter)), delimiter, start[index + 1 :]
    return None, delimiter, []


def _text(lines: list[Line]) -> Iterator[str]:
    return itertools.chain.from_iterable(line for _, line in lines)


def _cells(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter), []) if '"' in line else line.split(delimiter)
    if len(cells) == 1 and delimiter in cells[0]:  # the whole line was in quotes
        cells = cells[0].split(delimiter)
    cells = [cell.strip(" \t\r\"'\ufeff\xa0") for cell in cells]
    return [cell.replace(",", ".") for cell in cells] if "," in line and (delimiter != "," or '"' in line) else cells
