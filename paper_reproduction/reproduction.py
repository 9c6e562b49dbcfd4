"""What every reproduction does: run a study, compare it with the laws, draw it, and keep the numbers."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Literal, TypeAlias

import xarray as xr

import figures
from simulator import PlatformError, SlurmError, StoreError, Study, WorkerError, plan, run, save_results
from theory import LossTableError, best_laws, compare, comparison_as_text
from theory.laws import IntrinsicDimensionLaw, Law, OffsetDimensionLaw, PowerLaw, SaturatingLaw

Scale: TypeAlias = Literal["smoke", "laptop", "paper"]
REFUSALS = (StoreError, PlatformError, WorkerError, SlurmError, LossTableError, OSError)
"""Errors whose message says what happened and what to do: a command line prints it without a traceback."""

LAWS: tuple[Law, ...] = (SaturatingLaw(), IntrinsicDimensionLaw(), OffsetDimensionLaw(), PowerLaw())


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """A study at three scales, under a title.

    Attributes:
        title: what is shown.
        study: from a scale to the study.
        exact_optimum: where the learner's risk is known exactly, the exact l* of (study, dataset size).
    """

    title: str
    study: Callable[[Scale], Study]
    exact_optimum: Callable[[Study, int], int] | None = None


def reproduce(name: str, reproduction: Reproduction, scale: Scale, out: pathlib.Path, workers: int) -> xr.Dataset:
    """Run one reproduction with so many workers, writing everything below ``out``/``scale``/``name``; returns the
    comparison."""
    folder = out / scale / name
    study = reproduction.study(scale)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(study.to_json())
    print(f"\n== {reproduction.title} ==")
    print(plan(study, folder / "runs"))
    results = run(study, folder / "runs", workers=workers)
    save_results(results, folder / "results.nc")

    comparison = compare(results, LAWS)
    written = [folder / "results.nc", folder / "study.json", *draw(results, comparison, folder, reproduction.title)]
    text = report(study, results, comparison, reproduction)
    (folder / "report.txt").write_text(text + "\n")
    print(text)
    print("\nwritten:", *(f"  {path}" for path in [*written, folder / "report.txt"]), sep="\n")
    return comparison


def draw(results: xr.Dataset, comparison: xr.Dataset, folder: pathlib.Path, title: str = "") -> list[pathlib.Path]:
    """Both figures with their numbers; returns the files."""
    return [
        *figures.save(*figures.loss_against_context_length(results, title), folder / "loss_against_context_length"),
        *figures.save(*figures.optimal_context_length(comparison, title), folder / "optimal_context_length"),
    ]


def report(study: Study, results: xr.Dataset, comparison: xr.Dataset, reproduction: Reproduction) -> str:
    """The measured optimum of every dataset size, then the laws on the held-out ones."""
    lines = [
        f"{'D':>10}  {'measured l*':>12}  {'interval':>10}  {'loss':>8}"
        + ("  exact l*" if reproduction.exact_optimum else "")
    ]
    for D in comparison["dataset_size"].values:
        cell = comparison.sel(dataset_size=D)
        interval = f"[{float(cell['lower']):.0f}, {float(cell['upper']):.0f}]"
        exact = f"  {reproduction.exact_optimum(study, int(D)):>8}" if reproduction.exact_optimum else ""
        note = "  at the grid's edge: not an optimum" if bool(cell["at_edge"]) else ""
        lines.append(
            f"{int(D):>10}  {int(cell['best_on_grid']):>12}  {interval:>10}  {float(cell['loss']):8.4f}{exact}{note}"
        )
    below = ((results["test_loss"] - results["bayes_risk"]) / results["test_loss_standard_error"]).min()
    lines += [
        "",
        comparison_as_text(comparison, f"({study.task.unit})"),
        "",
        f"smallest held-out regret: {', '.join(best_laws(comparison))}",
        f"lowest test loss: {float(below):+.1f} standard errors from the Bayes risk (of {results['loss'].size} runs, "
        f"{int(results['diverged'].sum())} diverged)",
    ]
    return "\n".join(lines)
