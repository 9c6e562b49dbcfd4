"""l*(D) of one task for each model: one study per model, and their optima side by side."""

import pathlib

import xarray as xr

from paper_reproduction.enough_data.make import one_of_each
from paper_reproduction.report_tables import labelled
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import GradientDescent
from simulator.models import MLP, Model
from simulator.tasks import LagCopy
from theory import optimal_context_length


def models(scale: Scale) -> dict[str, Model]:
    """One of each; Mamba, slow on a CPU, at paper scale only."""
    chosen = {"MLP": MLP(hidden_sizes=(64, 64)), **one_of_each(1, 64 if scale == "paper" else 16)}
    left_out = {"smoke": chosen.keys() - {"MLP"}, "laptop": {"Mamba"}, "paper": set()}[scale]
    return {name: model for name, model in chosen.items() if name not in left_out}


def study(scale: Scale, model: Model) -> Study:
    """Copying from a lag of power law 1/n among 8 symbols, where each further token tells less than the one before."""
    smoke = scale == "smoke"
    learner = GradientDescent(
        model,
        steps=20 if smoke else 2000,
        learning_rate=1e-2,
        schedule="cosine",
        warmup=0.05,
        patience=6,
        validation_size=128 if smoke else 1024,
        side_by_side=4,
    )
    if smoke:
        return Study(
            LagCopy(vocabulary_size=4, beta=1.0, first_probability=0.4, max_context_length=4),
            learner,
            (1, 2, 4),
            (256, 2048),
            seeds=2,
            test_size=256,
        )
    sizes = (512, 1024, 2048, 4096, 8192, *((16384, 32768) if scale == "paper" else ()))
    return Study(
        LagCopy(vocabulary_size=8, beta=1.0, first_probability=0.24, max_context_length=32),
        learner,
        (1, 2, 4, 8, 16, 32),
        sizes,
        seeds=4,
        test_size=4096,
    )


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """The optimum of every model and dataset size, with its interval."""
    optima = {}
    for name, model in models(scale).items():
        best = optimal_context_length(run(study(scale, model), folder / "runs" / name, workers=workers))
        optima[name] = best.rename(best_on_grid="value")[["value", "lower", "upper", "at_edge", "loss"]]
    table = xr.concat(list(optima.values()), "model").assign_coords(model=list(optima))
    table["value"] = table["value"].astype(float)
    names = {"value": "$l^*$ (tokens); open: at the grid's end", "dataset_size": "dataset size $D$ (samples)"}
    table = labelled(table, {**names, "model": "model"}, scale="log2").transpose("model", "dataset_size")
    return Result({"optimal_context_length": table})


REPRODUCTION = Reproduction(
    "Optimal context length by model, copying from a power-law lag",
    claim="Does l* depend on the model?",
    source="a question of this project",
    make=make,
)
