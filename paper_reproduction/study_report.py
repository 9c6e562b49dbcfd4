"""Reproductions that are one study: run it, compare its losses with the laws, and draw both."""

import functools
import pathlib
from collections.abc import Callable

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import figures
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, plan, run
from theory import best_laws, compare, comparison_as_text
from theory.laws import IntrinsicDimensionLaw, Law, OffsetDimensionLaw, PowerLaw, SaturatingLaw

LAWS: tuple[Law, ...] = (SaturatingLaw(), IntrinsicDimensionLaw(), OffsetDimensionLaw(), PowerLaw())
StudyOfScale = Callable[[Scale], Study]
ExactOptimum = Callable[[Study, int], int]


def study_reproduction(
    title: str, claim: str, source: str, study: StudyOfScale, exact_optimum: ExactOptimum | None = None
) -> Reproduction:
    """The reproduction whose result is one study.

    Args:
        title, claim, source: see :class:`Reproduction`.
        study: from a scale to the study.
        exact_optimum: l* of (study, dataset size), where the expected risk of the learner is known exactly.
    """
    return Reproduction(title, claim, source, functools.partial(_make, title, study, exact_optimum))


def _make(
    title: str,
    study_of_scale: StudyOfScale,
    exact_optimum: ExactOptimum | None,
    scale: Scale,
    folder: pathlib.Path,
    workers: int,
) -> Result:
    study = study_of_scale(scale)
    print(plan(study, folder / "runs"))
    results = run(study, folder / "runs", workers=workers)
    comparison = compare(results, LAWS, n_bootstrap=2 if scale == "smoke" else 50)
    return Result(
        {"results": results},
        draw(results, comparison, title),
        report(study, results, comparison, exact_optimum),
        texts={"study.json": study.to_json()},
    )


def draw(results: xr.Dataset, comparison: xr.Dataset, title: str = "") -> dict[str, tuple[Figure, pd.DataFrame]]:
    """Loss against context length, and l* against dataset size, by the names of their files."""
    return {
        "loss_against_context_length": figures.draw_losses(results, title, comparison),
        "optimal_context_length": figures.draw_optima(comparison, title),
    }


def report(study: Study, results: xr.Dataset, comparison: xr.Dataset, exact_optimum: ExactOptimum | None) -> str:
    """The measured optimum of every dataset size, then the laws on the held-out ones."""
    lines = [f"{'D':>10}  {'measured l*':>12}  {'interval':>10}  {'loss':>8}" + ("  exact l*" if exact_optimum else "")]
    for D in comparison["dataset_size"].values:
        cell = comparison.sel(dataset_size=D)
        interval = f"[{float(cell['lower']):.0f}, {float(cell['upper']):.0f}]"
        exact = f"  {exact_optimum(study, int(D)):>8}" if exact_optimum else ""
        note = "  at the grid's edge: not an optimum" if bool(cell["at_edge"]) else ""
        note += "  limited by optimisation, there or beside" if bool(cell["limited_by_optimisation"]) else ""
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
