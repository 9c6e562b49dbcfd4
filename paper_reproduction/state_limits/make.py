"""Associative recall of more pairs than a state of fixed size can hold, by recurrent networks and a Transformer."""

import pathlib

import xarray as xr

from paper_reproduction.kept_parts import ENDLESS
from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import GradientDescent
from simulator.models import GRU, Model, Transformer
from simulator.tasks import AssociativeRecall


def models(scale: Scale) -> dict[str, Model]:
    """A Transformer, whose state grows with the context, and GRUs of several state sizes."""
    widths = {"smoke": (4,), "laptop": (4, 8, 16, 32), "paper": (4, 8, 16, 32, 64, 128)}[scale]
    recurrent: dict[str, Model] = {f"GRU, {width} numbers": GRU(depth=1, width=width) for width in widths}
    return recurrent if scale == "smoke" else {"Transformer": Transformer(depth=2, width=32, heads=2), **recurrent}


def pairs(scale: Scale) -> tuple[int, ...]:
    """Numbers of pairs."""
    return {"smoke": (2,), "laptop": (1, 2, 3, 4, 6, 8), "paper": (1, 2, 4, 8, 16, 32, 64)}[scale]


def recall(n_pairs: int) -> AssociativeRecall:
    """n pairs of n keys and one of four values. A state needs 2n bits to answer every question; R(2n) = 0."""
    return AssociativeRecall(n_pairs=n_pairs, n_keys=n_pairs, n_values=4)


def study(scale: Scale, model: Model, n_pairs: int) -> Study:
    """Trained and tested on the whole context."""
    learner = GradientDescent(
        model,
        steps={"smoke": 20, "laptop": 4000, "paper": 50_000}[scale],
        batch_size=128,
        learning_rate=1e-2 if isinstance(model, GRU) else 3e-3,
        schedule="cosine",
        warmup=0.05,
        evaluation_every=20 if scale == "smoke" else 250,
        patience=None,
        validation_size=1024,
    )
    return Study(recall(n_pairs), learner, (2 * n_pairs,), (ENDLESS,), seeds=2, test_size=4096)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Loss of each model for each number of pairs, and the bits to hold per number of its state."""
    losses, bits = {}, {}
    for name, model in models(scale).items():
        for n in pairs(scale):
            results = run(study(scale, model, n), folder / "runs" / name.replace(", ", "-"), workers=workers)
            losses[name, n] = results["approximation_loss"].isel(context_length=0, dataset_size=0, drop=True)
            bits[name, n] = recall(n).state_bits() / model.state_size(2 * n)
    names, numbers = list(models(scale)), list(pairs(scale))
    table = mean_and_interval(
        xr.concat(
            [xr.concat([losses[name, n] for n in numbers], "pairs") for name in names], "model", coords="minimal"
        ).assign_coords(model=names, pairs=numbers)
    )
    table["bits_per_number"] = (("model", "pairs"), [[bits[name, n] for n in numbers] for name in names])
    guess = "loss above R = 0 (nats); 1.386 is a guess"
    labels = {"value": guess, "pairs": "pairs to be held, of two bits each", "model": "model"}
    return Result({"loss_against_pairs": labelled(table, labels)})


REPRODUCTION = Reproduction(
    "Associative recall with states of fixed size",
    claim="A state of fixed size holds a fixed number of bits.",
    source="a question of this project",
    make=make,
)
