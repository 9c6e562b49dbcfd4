"""The approximation loss of every sequence model on tasks that it can solve, with little data and with much."""

import pathlib

import xarray as xr

from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import GradientDescent
from simulator.models import GRU, LSTM, RWKV4, LinearAttention, Mamba, MinGRU, RetNet, SequenceModel, Transformer
from simulator.tasks import AssociativeRecall, LagCopy, Retrieval, Task


def one_of_each(depth: int, width: int) -> dict[str, SequenceModel]:
    """Every sequence model by its name; models with heads have two."""
    headed: list[SequenceModel] = [kind(depth, width, heads=2) for kind in (Transformer, LinearAttention, RetNet)]
    others: list[SequenceModel] = [kind(depth, width) for kind in (RWKV4, Mamba, MinGRU, GRU, LSTM)]
    return {type(model).__name__: model for model in (*headed, *others)}


def models(scale: Scale) -> dict[str, SequenceModel]:
    """One of each, of two blocks; at smoke scale one, of one block."""
    if scale == "smoke":
        return {"GRU": GRU(depth=1, width=8)}
    return one_of_each(2, 32 if scale == "laptop" else 128)


def tasks(scale: Scale) -> dict[str, Task]:
    """Three tasks: find a needle, copy from a lag of power law, remember pairs."""
    if scale == "smoke":
        return {"retrieval": Retrieval(n_needles=1, n_answers=4, max_context_length=4)}
    return {
        "retrieval": Retrieval(n_needles=1, n_answers=4, max_context_length=16),
        "lag copy": LagCopy(vocabulary_size=3, beta=1.0, first_probability=0.35, max_context_length=8),
        "associative recall": AssociativeRecall(n_pairs=3, n_keys=3, n_values=4),
    }


def study(scale: Scale, task: Task, model: SequenceModel) -> Study:
    """The whole context, with little data and with much."""
    smoke = scale == "smoke"
    learner = GradientDescent(
        model,
        steps=20 if smoke else 2000,
        learning_rate=5e-3,
        schedule="cosine",
        warmup=0.05,
        patience=8,
        validation_size=512 if smoke else 1024,
    )
    sizes = (1000,) if smoke else (1000, 50_000)
    return Study(task, learner, (task.max_context_length,), sizes, seeds=1, test_size=256 if smoke else 4096)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Approximation loss of each model on each task, over the dataset size."""
    rows = []
    for name, task in tasks(scale).items():
        of_task = []
        for model in models(scale).values():
            results = run(study(scale, task, model), folder / "runs" / name.replace(" ", "_"), workers=workers)
            of_task.append(results["approximation_loss"].isel(context_length=0, drop=True))
        rows.append(xr.concat(of_task, "model").assign_coords(model=list(models(scale))))
    table = mean_and_interval(xr.concat(rows, "task").assign_coords(task=list(tasks(scale))))
    labels = {"value": "approximation loss (nats)", "dataset_size": "dataset size $D$ (samples)", "model": "model"}
    table = labelled(table, labels, scale="log").transpose("task", "model", "dataset_size")
    return Result({"approximation_loss": table})


REPRODUCTION = Reproduction(
    "How near each sequence model comes to the Bayes risk",
    claim="Does every sequence model come near the Bayes risk when it has data enough?",
    source="a question of this project",
    make=make,
)
