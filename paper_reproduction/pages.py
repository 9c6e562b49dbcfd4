"""``python -m paper_reproduction.pages``: fill the pages of all reproductions with the numbers of ``expected/``.

A page is ``NAME/README.md``. What is measured is never typed:

* ``[0.12](expected/report.txt "1 | ROW | COLUMN")`` is a cell of the first table of the report, with as many decimals
  as stand there. Levels of a row are joined by `` / ``. ``max``, ``min``, ``lower``, ``upper`` or ``at`` may come
  first: an extreme over the cells that a pattern with ``*`` names, an end of the interval, or the place along x.
  ``"field 1 | LINE | 2"`` is the second field of the line that begins with LINE in the first paragraph.
* ``<!-- table 1 | ROWS | COLUMNS -->`` to ``<!-- end -->`` is a table, ``<!-- excerpt 1 -->`` a paragraph of the report
  and ``<!-- trials -->`` the table ``expected/trials.csv``: trials whose reports were not kept.

Title and first claim are those of the ``REPRODUCTION``. Every claim, with what was found and the verdict, is one row of
the table in ``paper_reproduction/README.md``.
"""

import csv
import fnmatch
import functools
import pathlib
import re
import textwrap
from collections.abc import Mapping

from paper_reproduction.reproduction import FOLDER, load, names

_NUMBER = re.compile(r'\[([^\]]+)\]\(expected/report\.txt\s+"([^"]+)"\)')
_BLOCK = re.compile(r"<!-- (table|excerpt|trials)([^>]*) -->\n.*?<!-- end -->", re.DOTALL)
_CELL = re.compile(r"(?<!\S)(?:(\S+) \[(\S+), (\S+)\](?: at (\S+))?|-)(?!\S)")
_FINDING = re.compile(
    r"\*\*Claim\*\* \((.*?)\):\s(.*?)\n\n\*\*Found\*\*:\s(.*?)\n\n\*\*Verdict\*\*:\s(.*?)\n\n", re.DOTALL
)
_ENDS = {"lower": 1, "upper": 2, "at": 3}


@functools.cache
def read_table(text: str) -> dict[tuple[str, str], tuple[float | None, ...]]:
    """The table that :func:`paper_reproduction.report_tables.report` wrote.

    For each row and column it holds the value, the ends of its interval, and its place along x; None where there is no
    number.
    """
    _, _, header, levels, *lines = text.strip("\n").splitlines()
    starts = [match.start() for match in re.finditer(r"\S+(?: \S+)*", levels)]
    columns = re.split(r"\s{2,}", header.strip())[1:]
    cells, row = {}, [""] * len(starts)
    for line in lines:
        matches = list(_CELL.finditer(line, len(levels.rstrip()) if len(starts) > 1 else len(line.split("  ")[0])))
        label = line[: matches[0].start()]
        words = [label[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        row = [new or old for new, old in zip(words, row, strict=True)]
        for column, match in zip(columns, matches, strict=True):
            numbers = tuple(None if part is None else float(part) for part in match.groups())
            cells[" / ".join(row), column] = numbers
    return cells


def _selected(report: str, spec: str) -> tuple[list[str], dict[tuple[str, str], tuple[float | None, ...]]]:
    """The words before the table's number, and the cells whose row and column match the patterns."""
    words, rows, columns = (part.strip() for part in spec.split("|"))
    *how, index = words.split()
    table = read_table(report.split("\n\n\n")[int(index) - 1])
    cells = {k: v for k, v in table.items() if fnmatch.fnmatchcase(k[0], rows) and fnmatch.fnmatchcase(k[1], columns)}
    if not cells:
        raise ValueError(f"no cell {rows!r}, {columns!r}; there are rows {sorted({row for row, _ in table})}")
    return how, cells


def _number(report: str, spec: str, shown: str) -> str:
    decimals = len(shown.partition(".")[2])
    if spec.startswith("field"):
        where, start, field = spec.removeprefix("field").split("|")
        lines = [line.strip() for line in report.split("\n\n")[int(where) - 1].splitlines()]
        line = next(line for line in lines if line.startswith(start.strip() + " "))
        return f"{float(re.split('  +', line)[int(field) - 1]):.{decimals}f}"
    how, cells = _selected(report, spec)
    end = next((_ENDS[word] for word in how if word in _ENDS), 0)
    values = [value for cell in cells.values() if (value := cell[end]) is not None]
    if not {"max", "min"} & {*how} and len(values) != 1:
        raise ValueError(f"{spec!r} names {len(values)} cells: name one, or begin with max or min")
    return f"{min(values) if 'min' in how else max(values):.{decimals}f}"


def _table(report: str, spec: str) -> str:
    _, cells = _selected(report, spec)
    heads = list(dict.fromkeys(column for _, column in cells))
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for row in dict.fromkeys(row for row, _ in cells):
        values = [cells[row, column][0] for column in heads]
        lines.append(f"| {row} | {' | '.join('-' if v is None else f'{v:.3g}' for v in values)} |")
    return "\n".join(lines)


def _trials(folder: pathlib.Path) -> str:
    with (folder / "expected" / "trials.csv").open() as file:
        head, *rows = csv.reader(file)
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(["Noted when it was tried; no report of these trials was kept.", "", *lines])


def filled(text: str, folder: pathlib.Path) -> str:
    """The text with all its numbers and blocks made anew from the folder's ``expected/``."""
    path = folder / "expected" / "report.txt"
    report = path.read_text() if path.is_file() else ""

    def number(match: re.Match[str]) -> str:
        spec = " ".join(match[2].split())
        return f'[{_number(report, spec, match[1])}](expected/report.txt "{spec}")'

    def block(match: re.Match[str]) -> str:
        kind, spec = match[1], match[2]
        if kind == "table":
            made = _table(report, spec)
        elif kind == "trials":
            made = _trials(folder)
        else:
            made = "\n".join(["```", report.split("\n\n")[int(spec) - 1].strip("\n"), "```"])
        return f"<!-- {kind}{spec} -->\n\n{made}\n\n<!-- end -->"

    return _BLOCK.sub(block, _NUMBER.sub(number, text))


def page(name: str) -> str:
    """The page of a reproduction as it must be."""
    reproduction, folder = load(name), FOLDER / name
    text = (folder / "README.md").read_text()
    text = re.sub(r"\A# .*", lambda _: f"# {reproduction.title}", text)
    claim = f"**Claim** ({reproduction.source}): {reproduction.claim}"
    text = re.sub(r"\*\*Claim\*\* .*?(?=\n\n)", lambda _: claim, text, count=1, flags=re.DOTALL)
    return wrapped(filled(text, folder))


def findings(pages: Mapping[str, str]) -> str:
    """The table of all claims, from the page of each reproduction: the source, what was found here, and the verdict."""
    lines = ["| source | claim | found here | verdict | page |", "| --- | --- | --- | --- | --- |"]
    for name, text in pages.items():
        for finding in _FINDING.finditer(text + "\n\n"):
            source, claim, found, verdict = (" ".join(_NUMBER.sub(r"\1", part).split()) for part in finding.groups())
            cells = (source, claim, found, verdict, f"[{name}]({name}/README.md)")
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """The text with its paragraphs and list items wrapped; tables, figures, comments and code are left alone."""
    blocks, fenced = [], False
    for paragraph in text.strip("\n").split("\n\n"):
        outside = not fenced
        fenced ^= paragraph.count("```") % 2 == 1
        if outside and not paragraph.startswith(("#", "|", "!", "<", "`", "    ")):
            items = re.split(r"\n(?=- )", paragraph)
            paragraph = "\n".join(
                textwrap.fill(
                    " ".join(item.split()), 120, subsequent_indent="  " * item.startswith("- "), break_long_words=False,
                    break_on_hyphens=False,
                )
                for item in items
            )  # fmt: skip
        blocks.append(paragraph)
    return "\n\n".join(blocks) + "\n"


def all_pages() -> dict[pathlib.Path, str]:
    """Every page, and the table of all of them, as they must be."""
    pages, overview = {name: page(name) for name in names()}, FOLDER / "README.md"
    table = f"<!-- findings -->\n\n{findings(pages)}\n\n<!-- end -->"
    text = re.sub(r"<!-- findings -->.*<!-- end -->", lambda _: table, overview.read_text(), flags=re.DOTALL)
    return {**{FOLDER / name / "README.md": text for name, text in pages.items()}, overview: wrapped(text)}


if __name__ == "__main__":
    for _path, _text in all_pages().items():
        _path.write_text(_text)
