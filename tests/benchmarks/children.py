"""Benchmarks in processes of their own, pinned to cores, several at once: as they would be run."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def run_pinned(commands: Sequence[Sequence[str]], cores: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Run ``python -m ...`` commands at once, each on its cores, and return the JSON object each prints last."""
    started = []
    for command, mine in zip(commands, cores, strict=True):
        program = ["taskset", "-c", ",".join(map(str, mine)), sys.executable, "-m", *command]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(len(mine))}
        started.append(subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment))
    results = []
    for process in started:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{process.args} failed with status {process.returncode}")
        results.append(json.loads(output.strip().splitlines()[-1]))
    return results


def median_and_range(values: Sequence[float], digits: int = 1) -> str:
    """A median with its smallest and largest value, as printed in a table."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
