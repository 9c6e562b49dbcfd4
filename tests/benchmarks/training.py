"""Training beside PyTorch, in one run on one machine.

    python -m tests.benchmarks.training paper [--rounds 3]
    python -m tests.benchmarks.training grid  [--rounds 3]

``paper``: the network, data and settings of arXiv 2502.01481's synthetic experiment at l = 63, D = 200,000, training
alone; as many runs in flight as cores, one pinned process each (PyTorch also as one process on all cores; the better
counts). ``grid``: runs of the laptop grid, early stopping included, one pinned process per core; the simulator makes
all 198 runs, PyTorch a spread-out few of them, and time per step of a run is compared. Contenders take turns, round by
round; a ratio is the median over rounds. Needs ``pip install "context-scaling[bench]"``.
"""

import argparse
import dataclasses
import json
import statistics
import time

from simulator import Study
from simulator.learners import Run
from simulator.machine.workers import available_cores
from simulator.studies.run import make_runs
from tests.benchmarks.children import median_and_range, run_pinned
from tests.benchmarks.roofline import matmul_peak, network_operations, step_times

PYTORCH = ("published", "tuned-float32", "tuned-bfloat16")
SIMULATOR = ("float32", "mixed")


def paper_samples_per_second(precision: str) -> float:
    """Samples a second of the paper's training, in this process; compiling is not counted."""
    from tests.benchmarks.pytorch_baselines import PAPER_CONTEXT_LENGTH, PAPER_DATASET_SIZE, PAPER_LEARNER, PAPER_TASK

    learner = dataclasses.replace(PAPER_LEARNER, precision=precision, validation_size=1, patience=None)
    _, step = step_times(PAPER_TASK, learner, Run(PAPER_CONTEXT_LENGTH, PAPER_DATASET_SIZE, 0))
    return learner.batch_size / step


def grid_study(precision: str) -> Study:
    """The laptop grid: 11 context lengths, 6 dataset sizes, 3 seeds."""
    from tests.benchmarks.pytorch_baselines import GRID_LEARNER, GRID_TASK

    lengths, sizes = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64), (512, 1024, 2048, 4096, 8192, 16384)
    return Study(GRID_TASK, dataclasses.replace(GRID_LEARNER, precision=precision), lengths, sizes, seeds=3)


def grid_on_all_cores(precision: str) -> tuple[int, float]:
    """Steps of all runs together, and seconds from the call to the last result, compiling and testing included."""
    study = grid_study(precision)
    start = time.perf_counter()
    made = list(make_runs(study, study.runs(), None, len(available_cores())))
    return sum(result["steps"] for _, result in made), time.perf_counter() - start


def paper(rounds: int) -> None:
    """Print the table of samples a second."""
    cores = available_cores()
    speeds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in PYTORCH:
            command = ["tests.benchmarks.pytorch_baselines", "paper", name]
            each = run_pinned([[*command, "--threads", "1"]] * len(cores), [[core] for core in cores])
            (together,) = run_pinned([[*command, "--threads", str(len(cores))]], [cores])
            pinned = sum(figures["samples_per_second"] for figures in each)
            speeds.setdefault(f"PyTorch {name}", []).append(max(pinned, together["samples_per_second"]))
        for precision in SIMULATOR:
            command = ["tests.benchmarks.training", "paper-child", "--precision", precision]
            each = run_pinned([command] * len(cores), [[core] for core in cores])
            speeds.setdefault(f"simulator {precision}", []).append(sum(f["samples_per_second"] for f in each))
    operations = network_operations((113, 400, 200, 400, 1))
    peaks = {name: matmul_peak(name) * len(cores) for name in ("float32", "bfloat16")}
    print(f"paper's MLP, training alone, {len(cores)} cores, {operations / 1e6:.2f} MFLOP a sample, {rounds} rounds")
    print("measured matmul peak of all cores, GFLOP/s:", {name: round(peak / 1e9) for name, peak in peaks.items()})
    print(f"{'contender':24s} {'1000 samples/s':>22s} {'of float32 peak':>16s} {'of bfloat16 peak':>17s}")
    for name, values in speeds.items():
        done = statistics.median(values) * operations
        shares = "".join(f"{100 * done / peaks[p]:>15.0f} %" for p in ("float32", "bfloat16"))
        print(f"{name:24s} {median_and_range([value / 1e3 for value in values]):>22s} {shares}")
    _print_ratios(speeds)


def grid(rounds: int) -> None:
    """Print the table of run-steps a second."""
    cores = available_cores()
    study = grid_study("float32")
    speeds: dict[str, list[float]] = {}
    cells = [(length, size) for size in study.dataset_sizes[1::2] for length in study.context_lengths[1::4]]
    for round_number in range(rounds):
        for precision in SIMULATOR:
            steps, seconds = grid_on_all_cores(precision)
            speeds.setdefault(f"simulator {precision}", []).append(steps / seconds)
        for name in PYTORCH:
            few = cells[:: len(cells) // 4] if name == "published" else cells
            figures = []
            for i in range(0, len(few), len(cores)):
                commands = [
                    f"tests.benchmarks.pytorch_baselines grid {name} --context-length {length} "
                    f"--dataset-size {size} --seed {round_number}".split()
                    for length, size in few[i : i + len(cores)]
                ]
                figures += run_pinned(commands, [[core] for core in cores[: len(commands)]])
            one_core = sum(f["steps"] for f in figures) / sum(f["seconds"] for f in figures)
            speeds.setdefault(f"PyTorch {name}, looped on one core", []).append(one_core)
            speeds.setdefault(f"PyTorch {name}, a loop on each core", []).append(one_core * len(cores))
    print(f"laptop grid, {len(cores)} cores, {rounds} rounds; simulator: whole time of 198 runs, start to table")
    print(f"{'contender':42s} {'1000 run-steps/s':>22s} {'us a run-step':>14s}")
    for name, values in speeds.items():
        once = 1e6 / statistics.median(values)
        print(f"{name:42s} {median_and_range([value / 1e3 for value in values], 2):>22s} {once:>14.1f}")
    _print_ratios(speeds)


def _print_ratios(speeds: dict[str, list[float]]) -> None:
    print("\nratios, median over rounds")
    for ours in (name for name in speeds if name.startswith("simulator")):
        for other in (name for name in speeds if name.startswith("PyTorch")):
            ratios = [a / b for a, b in zip(speeds[ours], speeds[other], strict=True)]
            print(f"{ours:20s} / {other:42s} {median_and_range(ratios, 2):>20s}")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=("paper", "grid", "paper-child"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=SIMULATOR, default="float32", help="of paper-child")
    given = parser.parse_args()
    if given.case == "paper-child":
        print(json.dumps({"samples_per_second": paper_samples_per_second(given.precision)}))
    else:
        {"paper": paper, "grid": grid}[given.case](given.rounds)


if __name__ == "__main__":
    main()
