"""Is a measured l*(D) of a network set by data, or by optimisation?

One network learns one task in three ways. *Untuned* is the recipe of ``parity_mlp``: one learning rate, no weight
decay, patience that grows with a run. *Tuned* chooses learning rate and weight decay by validation loss in each run
(:class:`simulator.learners.Tuned`). *Endless* sees no sample twice. From their tables :func:`theory.split_loss` makes
the parts of the untuned loss.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import xarray as xr

import figures
from paper_reproduction.kept_parts import ENDLESS
from paper_reproduction.parity_mlp.make import study as parity_study
from paper_reproduction.report_tables import labelled, report
from paper_reproduction.reproduction import Reproduction, Result, Scale
from paper_reproduction.study_report import LAWS
from simulator import Study, run
from simulator.learners import GradientDescent, GrowingPatience, Tuned
from simulator.models import MLP
from simulator.tasks import SparseParity
from theory import compare, comparison_as_text, optimal_context_length, split_loss

TITLE = "Data or optimisation, on position-weighted sparse parity"
RATES, DECAYS = (0.015, 0.045, 0.13), (0.0, 0.03, 0.1, 0.3)
ENDLESS_RATES = (0.005, 0.015)
LEARNERS = ("untuned", "tuned")
PARTS = ("capacity", "estimation", "optimisation")


def studies(scale: Scale) -> dict[str, Study]:
    """Untuned, tuned and endless, of the same task, network and context lengths.

    Tuned runs wait longer than untuned ones: with weight decay networks generalise long after they have overfitted.
    ``paper`` is the task, the network and the grid of the laptop study of ``parity_mlp``; it needs an accelerator.
    """
    study = parity_study("smoke" if scale == "smoke" else "laptop")
    untuned = study.learner
    assert isinstance(untuned, GradientDescent)
    if scale == "laptop":
        untuned = dataclasses.replace(untuned, model=MLP(hidden_sizes=(32, 32)), batch_size=64)
        study = Study(
            task=SparseParity.pareto(n_tasks=16, max_context_length=32, nearest=2, exponent=0.7),
            learner=untuned,
            context_lengths=(2, 3, 4, 6, 8, 11, 16, 23, 32),
            dataset_sizes=(400, 900, 2000, 4500, 10_000),
            seeds=3,
        )
    if scale == "smoke":
        tuned = endless = Tuned(untuned, {"learning_rate": RATES, "weight_decay": DECAYS[:1]})
    else:
        patient = dataclasses.replace(untuned, steps=20_000, patience=GrowingPatience(factor=3, least=50))
        tuned = Tuned(patient, {"learning_rate": RATES, "weight_decay": DECAYS})
        fresh = dataclasses.replace(untuned, steps=30_000, schedule="cosine", patience=None)
        endless = Tuned(fresh, {"learning_rate": ENDLESS_RATES})
    return {
        "untuned": study,
        "tuned": dataclasses.replace(study, learner=tuned),
        "endless": dataclasses.replace(study, learner=endless, dataset_sizes=(ENDLESS,)),
    }


def at_optima(optima: Mapping[str, xr.Dataset], parts: xr.Dataset) -> str:
    """l* and its loss for both learners, and the parts of the untuned loss at the untuned l*, by dataset size.

    ``limited`` says whether more training might improve a run at l* or beside it. ``share`` is that of optimisation in
    the approximation loss.
    """
    lines = []
    for size in parts["dataset_size"].values.tolist():
        here = {name: best.sel(dataset_size=size) for name, best in optima.items()}
        row = {"D": str(size)}
        for name, best in here.items():
            row[f"{name} l*"] = f"{int(best['best_on_grid'])}{' at edge' if best['at_edge'] else ''}"
            row[f"{name} interval"] = f"[{float(best['lower']):.0f}, {float(best['upper']):.0f}]"
            row[f"{name} loss"] = f"{float(best['loss']):.4f}"
            row[f"{name} limited"] = "yes" if best["limited_by_optimisation"] else "no"
        cell = parts.sel(dataset_size=size, context_length=int(here["untuned"]["best_on_grid"]))
        row |= {name: f"{float(cell[name]):.4f}" for name in PARTS}
        row["share (%)"] = f"{100 * float(cell['optimisation'] / sum(cell[name] for name in PARTS)):.0f}"
        lines += [list(row.values())] if lines else [list(row), list(row.values())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)


def chosen(tuned: xr.Dataset, best: xr.Dataset) -> str:
    """How often each value was chosen, by dataset size, at context lengths up to the tuned l*."""
    used = tuned["context_length"] <= best["best_on_grid"]
    lines = []
    for setting, values in {"learning_rate": RATES, "weight_decay": DECAYS}.items():
        for value in values:
            times = ((tuned[f"chosen_{setting}"] == value) & used).sum(("context_length", "seed")).values
            lines.append(f"{setting.replace('_', ' ')} {value:g}".ljust(24) + "".join(f"{n:>8}" for n in times))
    head = "chosen up to l*, by D".ljust(24) + "".join(f"{size:>8}" for size in tuned["dataset_size"].values)
    return "\n".join([head, *lines])


def part_table(parts: xr.Dataset) -> xr.Dataset:
    """The parts of the untuned loss over (part, context length, dataset size), with one standard error either way."""
    values = parts[list(PARTS)].to_dataarray("part")
    errors = parts[[f"{name}_error" for name in PARTS]].to_dataarray("part").assign_coords(part=list(PARTS))
    table = xr.Dataset({"value": values, "lower": values - errors, "upper": values + errors})
    return labelled(table, {"value": f"part of the untuned loss ({parts.attrs['unit']})"})


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """The parts of every untuned loss, l*(D) untuned and tuned, and which laws both follow."""
    results = {name: run(study, folder / "runs" / name, workers=workers) for name, study in studies(scale).items()}
    parts = split_loss(results["untuned"], best=results["tuned"], endless=results["endless"])
    optima = {name: optimal_context_length(results[name]) for name in LEARNERS}
    drawn = xr.concat(list(optima.values()), "learner").assign_coords(learner=list(optima))
    drawn = drawn.assign(value=drawn["best_on_grid"].astype(float))[["value", "lower", "upper", "at_edge"]]
    labels = {"value": "$l^*$ (tokens); open: at the grid's end", "dataset_size": "dataset size $D$ (samples)"}
    drawn = labelled(drawn, labels, scale="log2")
    texts = [at_optima(optima, parts), chosen(results["tuned"], optima["tuned"])]
    for name in LEARNERS:
        comparison = compare(results[name], LAWS, n_bootstrap=2 if scale == "smoke" else 50)
        texts += [f"{name}:", comparison_as_text(comparison, f"({parts.attrs['unit']})")]
    panels = parts.isel(dataset_size=slice(None, None, 2 if parts.sizes["dataset_size"] > 6 else 1))
    return Result(
        {**results, "parts": parts, "optimal_context_length": drawn},
        {
            "loss_parts": figures.draw_loss_parts(panels, TITLE),
            "optimal_context_length": figures.draw_curves(drawn, TITLE),
        },
        "\n\n\n".join(["\n\n".join(texts), report(part_table(parts))]),
    )


REPRODUCTION = Reproduction(
    TITLE,
    claim="Is a measured l*(D) of a network set by data, or by optimisation?",
    source="a question of this project",
    make=make,
)
