"""Breaks random lines of ``theory/`` and ``simulator/``, one at a time, and reports which of them the tests catch.

    python -m tests.benchmarks.mutations --seed 0 --count 60                  # the fast tier
    python -m tests.benchmarks.mutations --seed 0 --count 60 --tier all       # fast and slow together

A line is drawn uniformly from all lines that hold something to break. One thing on it is then broken: an arithmetic
operator, a comparison, a number, a truth value, a negation, or a whole statement, which is left out. Each mutant lives
in a copy of the checkout. Test files are run in order of relevance, nearest first, until one fails.
"""

import argparse
import ast
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


def test_files(mutation: Mutation) -> list[str]:
    """All test files, the nearest to the mutation first."""
    path = pathlib.Path(mutation.path)
    module = ".".join(path.with_suffix("").parts)

    def distance(file: pathlib.Path) -> tuple[int, int]:
        text = file.read_text()
        if path.stem in file.stem:
            return 0, len(text)
        if module in text:
            return 1, len(text)
        same_floor = file.relative_to(ROOT / "tests").parts[0] == path.parts[0]
        return (2 if path.stem in text and same_floor else 3 if same_floor else 4), len(text)

    return [str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").rglob("test_*.py"), key=distance)]


def first_failure(mutation: Mutation | None, tier: str, cache: pathlib.Path) -> str | None:
    """The first test that fails in a copy of the checkout with the mutation; None if all pass.

    Raises:
        RuntimeError: pytest failed without a failing test, which says nothing about the mutation.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "results", "runs", "__pycache__", ".*_cache"))
        files = ["tests/test_architecture.py"]
        if mutation is not None:
            broken = copy / mutation.path
            broken.write_text(mutation.broken(broken.read_text()))
            files = test_files(mutation)
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONPATH": str(copy)}
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-m", _TIERS[tier]]
        command = [sys.executable, "-m", "pytest", *options, *files]
        try:
            ran = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no end within {_LIMIT} s"
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if ran.returncode and not failed:
        raise RuntimeError(f"pytest ended with status {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[0] if failed else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Break the lines one at a time, and print what caught each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="lines to break (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice (default: 0)")
    parser.add_argument("--tier", choices=_TIERS, default="fast", help="tests to run (default: fast)")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the mutations to run (default: all)")
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    options = parser.parse_args(arguments)
    chosen = list(enumerate(draw(options.count, options.seed)))
    if options.list:
        print(*(f"{i:3d}  {mutation}" for i, mutation in chosen), sep="\n")
        return 0
    wanted = [pair for pair in chosen if options.only is None or pair[0] in options.only]
    caught = 0
    with tempfile.TemporaryDirectory() as folder, tqdm(wanted, unit="mutant") as bar:
        cache = pathlib.Path(folder)
        if failed := first_failure(None, options.tier, cache):
            raise RuntimeError(f"tests fail on the checkout as it is: {failed}")
        for i, mutation in bar:
            begin = time.perf_counter()
            by = first_failure(mutation, options.tier, cache)
            caught += by is not None
            bar.write(f"{i:3d}  {mutation}\n     {by or 'NOT CAUGHT'}  ({time.perf_counter() - begin:.0f} s)")
    print(f"{caught} of {len(wanted)} caught")
    return 0 if caught == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
