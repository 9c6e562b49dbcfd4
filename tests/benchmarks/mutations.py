"""Breaks random lines of ``theory/`` and ``simulator/``, one at a time, and reports which of them the tests catch.

    python -m tests.benchmarks.mutations --seed 0 --count 60                  # the fast tier
    python -m tests.benchmarks.mutations --seed 0 --count 60 --tier all       # fast and slow together

A line is drawn uniformly from all lines that hold something to break. One thing on it is then broken: an arithmetic
operator, a comparison, a number, a truth value, a negation, or a whole statement, which is left out. Each mutant lives
in a copy of the checkout. A first run of all tests records which of them execute which lines. The tests that execute
the broken line are then run until one fails. If none fails, all test files are run, the nearest first: a test that uses
what another one has compiled does not execute the line itself.
"""

import argparse
import ast
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import coverage
from tqdm.auto import tqdm

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("theory", "simulator")
_OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "//", ast.Pow: "*"}
_COMPARISONS = {
    ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_LIMIT = 3600
"""Seconds after which a mutant counts as caught: it does not end."""
_TIERS = {"fast": "not slow and not slurm", "all": "not slurm"}


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One thing broken on one line.

    Attributes:
        path: file, relative to the checkout.
        line: number of the line, from 1.
        before: the file's characters that are replaced.
        after: what replaces them.
        start: where they begin in the file.
    """

    path: str
    line: int
    before: str
    after: str
    start: int

    def broken(self, text: str) -> str:
        """The file's text with the mutation."""
        end = self.start + len(self.before)
        assert text[self.start : end] == self.before, f"{self.path} has changed"
        return text[: self.start] + self.after + text[end:]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {' '.join(self.before.split())!r} -> {self.after!r}"


def mutations(path: pathlib.Path) -> Iterator[Mutation]:
    """Everything that can be broken in a file."""
    text = path.read_text()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    encoded = text.encode()

    def place(line: int, column: int) -> int:
        return len(encoded[: starts[line - 1] + column].decode())

    def ends(node: ast.AST) -> tuple[int, int]:
        return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)

    def mutation(start: int, end: int, after: str) -> Mutation:
        line = text.count("\n", 0, start) + 1
        return Mutation(str(path.relative_to(ROOT)), line, text[start:end], after, start)

    def between(left: ast.expr, right: ast.expr, after: str) -> Iterator[Mutation]:
        start, end = place(left.end_lineno, left.end_col_offset), place(right.lineno, right.col_offset)
        gap = text[start:end]
        sign = gap.strip(" \n()")
        if sign and "#" not in gap:
            begin = start + gap.index(sign)
            yield mutation(begin, begin + len(sign), after)

    def visit(node: ast.AST) -> Iterator[Mutation]:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "EXAMPLES":
            return  # instances for tests: another one is as good
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            yield from between(node.left, node.right, _OPERATORS[type(node.op)])
        elif isinstance(node, ast.Compare):
            for left, sign, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                yield from between(left, right, _COMPARISONS[type(sign)])
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from between(left, right, "or" if isinstance(node.op, ast.And) else "and")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            start = place(node.lineno, node.col_offset)
            yield mutation(start, start + (3 if isinstance(node.op, ast.Not) else 1), "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            value = not node.value if isinstance(node.value, bool) else 2 * node.value + (abs(node.value) < 2)
            yield mutation(*ends(node), repr(value))
        elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or isinstance(node, ast.AugAssign):
            yield mutation(*ends(node), "pass")
        for name, child in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr | ast.Raise):
                continue
            for item in child if isinstance(child, list) else [child]:
                if isinstance(item, ast.AST):
                    yield from visit(item)

    yield from visit(ast.parse(text))


def draw(count: int, seed: int) -> list[Mutation]:
    """Mutations on ``count`` different lines, drawn uniformly."""
    lines: dict[tuple[str, int], list[Mutation]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for found in mutations(path):
                lines.setdefault((found.path, found.line), []).append(found)
    generator = random.Random(seed)
    return [generator.choice(lines[place]) for place in generator.sample(sorted(lines), count)]


class Contexts:
    """Which tests execute which lines, as a run of the tests has recorded it."""

    def __init__(self, file: pathlib.Path) -> None:
        data = coverage.CoverageData(str(file))
        data.read()
        paths = {path: path.partition("/checkout/")[2] for path in data.measured_files()}
        self._tests = {paths[path]: data.contexts_by_lineno(path) for path in paths}
        self._size = collections.Counter(
            context for lines in self._tests.values() for contexts in lines.values() for context in contexts
        )

    def tests(self, path: str, line: int) -> list[str]:
        """Tests that execute a line, those that execute the fewest lines first; no test if an import executes it."""
        contexts = self._tests.get(path, {}).get(line, [])
        if "" in contexts:
            return []
        ordered = sorted(contexts, key=lambda context: self._size[context])
        return list(dict.fromkeys(context.rpartition("|")[0] for context in ordered))


def nearest_files(mutation: Mutation) -> list[str]:
    """All test files, the nearest to the mutation first. That of the defaults is short and comes before them."""
    path = pathlib.Path(mutation.path)
    module = ".".join(path.with_suffix("").parts)

    def distance(file: pathlib.Path) -> tuple[int, int]:
        text = file.read_text()
        if file.name == "test_defaults.py":
            return -1, 0
        if path.stem in file.stem:
            return 0, len(text)
        if module in text:
            return 1, len(text)
        same_floor = file.relative_to(ROOT / "tests").parts[0] == path.parts[0]
        return (2 if path.stem in text and same_floor else 3 if same_floor else 4), len(text)

    return [str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").rglob("test_*.py"), key=distance)]


def run_tests(checkout: pathlib.Path, cache: pathlib.Path, tier: str, *arguments: str) -> str | None:
    """The first test that fails in a checkout; None if all pass.

    Raises:
        RuntimeError: pytest failed without a failing test.
    """
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONPATH": str(checkout)}
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-m", _TIERS[tier]]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    try:
        ran = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end within {_LIMIT} s"
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if ran.returncode and not failed:
        raise RuntimeError(f"pytest ended with status {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[0] if failed else None


@contextlib.contextmanager
def copied() -> Iterator[pathlib.Path]:
    """A copy of the checkout in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "results", "runs", "__pycache__", ".*_cache"))
        yield copy


def recorded(file: pathlib.Path, tier: str, cache: pathlib.Path) -> Contexts:
    """What the tests of a tier execute, read from a file, which a run of all of them makes if there is none."""
    if not file.exists():
        measure = [f"--cov={package}" for package in PACKAGES]
        with copied() as copy:
            if failed := run_tests(copy, cache, tier, *measure, "--cov-context=test", "--cov-report="):
                raise RuntimeError(f"tests fail on the checkout as it is: {failed}")
            shutil.copy(copy / ".coverage", file)
    return Contexts(file)


def first_failure(mutation: Mutation, contexts: Contexts, tier: str, cache: pathlib.Path) -> tuple[str | None, float]:
    """The first test that fails with the mutation, None if all pass, and the seconds it took."""
    begin = time.perf_counter()
    with copied() as copy:
        broken = copy / mutation.path
        broken.write_text(mutation.broken(broken.read_text()))
        failed = None
        for chosen in (contexts.tests(mutation.path, mutation.line), nearest_files(mutation)):
            if chosen and not failed:
                arguments = copy.parent / "arguments"
                arguments.write_text("\n".join(chosen))
                failed = run_tests(copy, cache, tier, "-n", "0", f"@{arguments}")
    return failed, time.perf_counter() - begin


def main(arguments: Sequence[str] | None = None) -> int:
    """Break the lines one at a time, and print what caught each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="lines to break (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice (default: 0)")
    parser.add_argument("--tier", choices=_TIERS, default="fast", help="tests to run (default: fast)")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the mutations to run (default: all)")
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    parser.add_argument("--processes", type=int, default=2, help="mutations tested at once (default: 2)")
    parser.add_argument(
        "--coverage", type=pathlib.Path, help="file that keeps which tests execute which lines, until a line changes"
    )
    options = parser.parse_args(arguments)
    chosen = list(enumerate(draw(options.count, options.seed)))
    if options.list:
        print(*(f"{i:3d}  {mutation}" for i, mutation in chosen), sep="\n")
        return 0
    wanted = [pair for pair in chosen if options.only is None or pair[0] in options.only]
    caught = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ThreadPoolExecutor(options.processes) as pool,
        tqdm(total=len(wanted), unit="mutant") as bar,
    ):
        cache = pathlib.Path(folder)
        contexts = recorded(options.coverage or cache / "coverage", options.tier, cache)
        tested = {
            pool.submit(first_failure, mutation, contexts, options.tier, cache): (i, mutation) for i, mutation in wanted
        }
        for future in concurrent.futures.as_completed(tested):
            (i, mutation), (by, seconds) = tested[future], future.result()
            caught += by is not None
            bar.write(f"{i:3d}  {mutation}\n     {by or 'NOT CAUGHT'}  ({seconds:.0f} s)")
            bar.update()
    print(f"{caught} of {len(wanted)} caught")
    return 0 if caught == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
