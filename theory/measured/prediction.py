"""Predictions made beforehand: what laws say of dataset sizes that nobody has measured yet, and how it turned out."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from theory.checks import check_integer
from theory.laws.base import Law
from theory.measured.comparison import Trial
from theory.measured.intervals import check_level
from theory.measured.loss_table import (
    LossTableError,
    check_loss_table,
    check_unit,
    risk_known,
    seed_losses,
    truth_of,
)
from theory.measured.optimum import optimal_context_length

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What laws predict for dataset sizes beyond a table.

    Attributes:
        table: SHA-256 of the losses, context lengths and dataset sizes that the laws were fitted to.
        measured: the dataset sizes of that table.
        context_lengths: the lengths among which l* is predicted.
        dataset_sizes: the sizes predicted.
        level: level of the intervals.
        laws: for each law its ``constants``, and lists over the dataset sizes: ``optimal_context_length``, ``lower``
            and ``upper`` end of its interval, ``loss`` at that length, ``loss_lower``, ``loss_upper``. Ends are None
            with a single seed.
    """

    table: str
    measured: list[int]
    context_lengths: list[int]
    dataset_sizes: list[int]
    level: float
    laws: dict[str, dict[str, Any]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON. An existing file is never changed, since a prediction is made once.

        Raises:
            FileExistsError: the file exists.
        """
        with pathlib.Path(path).open("x") as file:
            json.dump({"format": _FORMAT, **dataclasses.asdict(self)}, file, indent=1)
            file.write("\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Prediction":
        """Read what :meth:`save` wrote.

        Raises:
            LossTableError: the file is no such prediction.
        """
        try:
            plain = json.loads(pathlib.Path(path).read_text())
            if plain.pop("format") != _FORMAT:
                raise LossTableError(f"{path} is a prediction of another format: use the version that made it")
            return cls(**plain)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LossTableError(f"{path} is no prediction that context-scaling predict wrote: {error}") from error


def digest_of(results: xr.Dataset) -> str:
    """SHA-256 of the losses of a table with their context lengths, dataset sizes and seeds, as hexadecimal digits."""
    table = check_loss_table(results, "loss")
    axes = [table.indexes[axis].to_numpy().astype(np.int64) for axis in ("context_length", "dataset_size", "seed")]
    return hashlib.sha256(b"".join(part.tobytes() for part in (*axes, seed_losses(table)))).hexdigest()


def predict(
    results: xr.Dataset,
    laws: Sequence[Law],
    dataset_sizes: Sequence[int],
    *,
    level: float = 0.9,
    n_bootstrap: int = 100,
    seed: int = 0,
) -> Prediction:
    """l* and the loss there at dataset sizes beyond the table, by each law fitted to the whole table.

    Args:
        results: a table, as for :func:`theory.compare`.
        laws: laws to fit.
        dataset_sizes: the sizes to predict, each above every size of the table.
        level: level of the intervals, which come from seeds drawn with replacement.
        n_bootstrap: number of resamples.
        seed: seed of the resampling.

    Raises:
        LossTableError: the table lacks what is needed, or a size is not beyond it.
    """
    check_level(level)
    check_integer("n_bootstrap", n_bootstrap, 1)
    table = check_loss_table(results, "loss", "approximation_loss")
    for law in laws:
        check_unit(table, law)
    sizes = table.indexes["dataset_size"].to_numpy()
    at = np.array(sorted({check_integer("dataset_sizes", D, 1) for D in dataset_sizes}))
    if not at.size or at[0] <= sizes[-1]:
        raise LossTableError(
            f"a prediction is for dataset sizes above {sizes[-1]}, the largest of the table; got {list(dataset_sizes)}"
        )
    lengths, losses = table.indexes["context_length"].to_numpy(), seed_losses(table)
    trial = Trial(lengths, np.concatenate([sizes, at]), len(sizes), truth_of(table), risk_known(table))
    fits = trial.fit(list(laws), losses)
    drawn = [fits, *trial.resample(fits, losses, n_bootstrap, seed)]
    optima = np.array([trial.predict(of)[:, len(sizes) :] for of in drawn], dtype=float)
    reached = np.array(
        [[f.law.loss(row.astype(int), at, f.truth) for f, row in zip(of, rows, strict=True)]
         for of, rows in zip(drawn, optima, strict=True)]
    )  # fmt: skip
    said = {
        law.name: {"constants": fits[i].law.constants()}
        | _with_ends(optima[:, i], level, ("optimal_context_length", "lower", "upper"))
        | _with_ends(reached[:, i], level, ("loss", "loss_lower", "loss_upper"))
        for i, law in enumerate(laws)
    }
    return Prediction(digest_of(table), sizes.tolist(), lengths.tolist(), at.tolist(), float(level), said)


def _with_ends(drawn: np.ndarray, level: float, names: Sequence[str]) -> dict[str, list[float | None]]:
    """The first row, and the ends of the interval that the others give."""
    best = drawn[0].tolist()
    if len(drawn) == 1:
        return {names[0]: best, names[1]: [None] * len(best), names[2]: [None] * len(best)}
    ends = np.quantile(drawn[1:], [(1 - level) / 2, (1 + level) / 2], axis=0, method="closest_observation")
    return dict(zip(names, (best, *ends.tolist()), strict=True))


def score(prediction: Prediction, results: xr.Dataset) -> xr.Dataset:
    """How a prediction turned out, at those of its dataset sizes that the table has.

    Args:
        prediction: from :func:`predict`.
        results: a table measured afterwards, with the context lengths of the prediction.

    Returns:
        A Dataset over (law, dataset_size): ``predicted``, ``log2_error`` (NaN where l* lies at an edge), ``covered``
        (the measured l* lies in the interval; NaN without one), ``regret`` (measured loss at the predicted length less
        the smallest), ``loss_error`` (predicted less measured loss at the predicted length); and what
        :func:`optimal_context_length` measured.

    Raises:
        LossTableError: no predicted size was measured, or a predicted length was not.
    """
    table = check_loss_table(results, "loss")
    at = [D for D in prediction.dataset_sizes if D in table.indexes["dataset_size"]]
    if not at:
        raise LossTableError(f"the table has none of the predicted dataset sizes {prediction.dataset_sizes}")
    missing = [l for l in prediction.context_lengths if l not in table.indexes["context_length"]]
    if missing:
        raise LossTableError(f"the prediction chose among context lengths that the table lacks: measure {missing}, too")
    table = table.sel(dataset_size=at, context_length=prediction.context_lengths)
    measured = optimal_context_length(table, level=prediction.level)
    mean, names = table["loss"].mean("seed", skipna=False), list(prediction.laws)
    chosen = [prediction.dataset_sizes.index(D) for D in at]

    def of_laws(name: str) -> xr.DataArray:
        values = [[prediction.laws[law][name][i] for i in chosen] for law in names]
        return xr.DataArray(np.array(values, dtype=float), {"law": names, "dataset_size": at}, ("law", "dataset_size"))

    predicted, lower, upper = map(of_laws, ("optimal_context_length", "lower", "upper"))
    reached = mean.sel(context_length=predicted.astype(int))
    optimum = measured["optimal_context_length"]
    covered = ((lower <= optimum) & (optimum <= upper)).where(lower.notnull() & optimum.notnull())
    scores = {
        "predicted": predicted,
        "log2_error": np.abs(np.log2(predicted / optimum)),
        "covered": covered,
        "regret": reached - measured["loss"],
        "loss_error": of_laws("loss") - reached,
    }
    return xr.Dataset(
        {name: values.drop_vars("context_length", errors="ignore") for name, values in scores.items()}
    ).merge(measured, combine_attrs="drop_conflicts")


def score_as_text(scores: xr.Dataset) -> str:
    """The scores as a plain-text table: a row for each dataset size and law."""
    width = max(map(len, scores["law"].values.tolist()))
    lines = [f"{'D':>10}  {'measured l*':>18}  {'law':<{width}}  {'predicted':>9}  covered    regret  loss error"]
    for D in scores["dataset_size"].values:
        cell = scores.sel(dataset_size=D)
        interval = f"[{float(cell['lower']):.0f}, {float(cell['upper']):.0f}]"
        measured = f"{int(cell['best_on_grid'])} {interval}" + (" at edge" if bool(cell["at_edge"]) else "")
        for law in scores["law"].values:
            row = cell.sel(law=law)
            covered = {1.0: "yes", 0.0: "no"}.get(float(row["covered"]), "-")
            lines.append(
                f"{int(D):>10}  {measured:>18}  {law:<{width}}  {int(row['predicted']):>9}  {covered:>7}  "
                f"{float(row['regret']):>8.4f}  {float(row['loss_error']):>+10.4f}"
            )
    return "\n".join(lines)
