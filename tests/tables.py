"""Loss tables made up for tests, whose answer is known."""

import numpy as np
import xarray as xr

from theory.laws import Law, Truth

LENGTHS = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32)
SIZES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)


def truth(unit: float = 1.0) -> Truth:
    """R(l) = 1 + 1/(l+1), dim(l) = l + 2 (0 without context), l = 0..32, in a unit of ``unit``."""
    l = np.arange(33)
    return Truth(unit * (1.0 + 1.0 / (l + 1)), np.where(l > 0, l + 2.0, 0.0), "nats")


def table(gap: np.ndarray, lengths=LENGTHS, sizes=SIZES) -> xr.Dataset:
    """A results table with the given approximation loss, shape (l, D, seed)."""
    risk = truth().bayes_risk[list(lengths)]
    axes = ("context_length", "dataset_size", "seed")
    return xr.Dataset(
        {
            "loss": (axes, risk[:, None, None] + gap),
            "approximation_loss": (axes, gap),
            "bayes_risk": ("context_length", risk),
            "bayes_risk_curve": ("every_context_length", truth().bayes_risk),
            "intrinsic_dimension_curve": ("every_context_length", truth().intrinsic_dimension),
        },
        coords={"context_length": list(lengths), "dataset_size": list(sizes), "seed": range(gap.shape[2]),
                "every_context_length": range(33)},
        attrs={"unit": "nats"},
    )  # fmt: skip


def table_of_law(law: Law, noise: float = 0.0, n_seeds: int = 4) -> xr.Dataset:
    """A table that obeys the law, with multiplicative noise that differs by seed and cell."""
    gap = law.approximation_loss(np.array(LENGTHS)[:, None], np.array(SIZES, float)[None, :], truth())
    factors = np.exp(noise * np.random.default_rng(1).normal(size=(*gap.shape, n_seeds)))
    return table(gap[:, :, None] * factors)
