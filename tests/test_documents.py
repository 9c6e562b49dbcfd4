"""What the documents say is true: snippets run and print what is shown, commands parse, links and names exist."""

import contextlib
import importlib.util
import io
import pathlib
import pkgutil
import re
import shlex

import pytest

import simulator.learners
import simulator.models
import simulator.tasks
import theory.laws
from paper_reproduction import __main__ as reproductions
from paper_reproduction import command_line

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("theory", "simulator", "figures", "paper_reproduction", "tests")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in sorted(PAGES)}
SNIPPET = re.compile(r"(<!-- slow -->\n)?```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
WITH_SNIPPETS = [name for name, text in TEXTS.items() if SNIPPET.search(text)]
ALSO_SLOW = [name for name, text in TEXTS.items() if "<!-- slow -->\n```python" in text]
PLACEHOLDER = re.compile(r"[\[<|]|\.\.\.|\b[A-Z]{2,}\b")
"""Marks a line that shows the form of a command: NAME, [OPTION], one|other."""


def run_snippets(name, folder, monkeypatch, *, slow):
    """Run the snippets of a document one after the other, as a reader who copies them would."""
    monkeypatch.chdir(folder)
    known = {"__name__": "snippet"}
    for marked_slow, code, expected in SNIPPET.findall(TEXTS[name]):
        if marked_slow and not slow:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), known)
        shown = [line.rstrip() for line in printed.getvalue().splitlines()]
        assert shown == expected.splitlines(), f"{name}: this snippet prints something else\n{code}"


@pytest.mark.parametrize("name", WITH_SNIPPETS)
def test_snippets_run_and_print_what_is_shown(name, tmp_path, monkeypatch):
    """A reader copies a snippet before reading anything else."""
    run_snippets(name, tmp_path, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALSO_SLOW)
def test_slow_snippets_run_too(name, tmp_path, monkeypatch):
    run_snippets(name, tmp_path, monkeypatch, slow=True)


FENCED = re.compile(r"```.*?```", re.DOTALL)
CURRENT = [name for name in TEXTS if name != "CHANGELOG.md"]
"""The changelog may name what is gone."""


def commands(text):
    """The commands in code spans and blocks, without prompts and comments."""
    blocks = re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCED.sub("", text)))
    for part in "&&".join([*blocks.splitlines(), *spans]).split("&&"):
        command = part.strip().removeprefix("$ ").partition(" #")[0].strip()
        if re.match(r"context-scaling\s|python -m\s", command) and not PLACEHOLDER.search(command):
            yield shlex.split(command)


@pytest.mark.parametrize("name", CURRENT)
def test_commands_are_accepted_and_what_they_name_exists(name, monkeypatch):
    """The real parsers read the command; nothing is trained."""
    made = []
    monkeypatch.setattr(reproductions, "reproduce", lambda name, *_: made.append(name))
    for words in commands(TEXTS[name]):
        if words[0] == "context-scaling":
            options = command_line.parser().parse_args(words[1:])
            if "task" in options:
                command_line.read_task(options.task)
        elif words[2] == "paper_reproduction":
            made.clear()
            assert reproductions.main(words[3:]) == 0
            assert made
        else:
            assert importlib.util.find_spec(words[2]), words


def anchors(text):
    """The anchors of the headings, as GitHub forms them."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_images_exist(name):
    for file, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?(?:\s\"[^\"]*\")?\)", TEXTS[name]):
        if not file.startswith(("http:", "https:")):
            path = (ROOT / name).parent / file if file else ROOT / name
            assert path.exists(), f"{name} links to {file}"
            assert not anchor or anchor in anchors(path.read_text()), f"{name} links to {file}#{anchor}"


@pytest.mark.parametrize("name", CURRENT)
def test_files_and_names_of_this_project_exist(name):
    for span in re.findall(r"`([^`\n]+)`", TEXTS[name]):
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./]*", span):
            assert (ROOT / span).exists(), f"{name} names the file {span}"
        if found := re.match(rf"({'|'.join(FOLDERS[:4])})(?!\.py$)(\.\w+)+", span):
            pkgutil.resolve_name(found[0])


@pytest.mark.parametrize(
    "room", [simulator.tasks, simulator.models, simulator.learners, theory.laws], ids=lambda room: room.__name__
)
def test_the_page_of_a_folder_names_all_it_holds(room):
    page = TEXTS[f"{room.__name__.replace('.', '/')}/README.md"]
    assert not [kind for kind in {type(example).__name__ for example in room.EXAMPLES} if kind not in page]
