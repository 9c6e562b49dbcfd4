"""The Bayes risk of both published parity tasks: exactly, by closed form, and as the loss of the Bayes predictor.

Section 4.2 of arXiv 2502.01481 v4, and the data of its v1-v3. With far bits 11 to 60 asked as (far - 1)^-1.15 the risk
is close to ln 2 [(l - 1/2)^-0.15 - 59.5^-0.15] / [9.5^-0.15 - 59.5^-0.15] (sums of x^-1.15 by the midpoint rule), of
the published form A + B / (l + C)^alpha; with far bits at quantiles of a Pareto law, to ln 2 (20/l)^1.2.
"""

import math
import pathlib

import numpy as np
import xarray as xr

from paper_reproduction.report_tables import labelled
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator.random.streams import stream_key
from simulator.tasks import SparseParity


def closed_form_v4(length: float) -> float:
    """A + B / (l + C)^alpha with alpha = 0.15 and C = -1/2, nats."""
    near, far = 9.5**-0.15, 59.5**-0.15
    return math.log(2) * ((length - 0.5) ** -0.15 - far) / (near - far)


def closed_form_v1(length: float) -> float:
    """ln 2 (20/l)^1.2, nats."""
    return math.log(2) * (20 / length) ** 1.2


def sampled(task: SparseParity, lengths: list[int], n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss of the Bayes predictor at each length and its standard error, nats."""
    examples = task.sample(stream_key(0, "test"), range(n_samples))
    each = [
        np.asarray(task.pointwise_loss(task.bayes_prediction(examples, l), examples, l), np.float64) for l in lengths
    ]
    return np.mean(each, axis=1), np.std(each, axis=1, ddof=1) / math.sqrt(n_samples)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """A table for each task."""
    n_samples = 2000 if scale == "smoke" else 200_000
    found = {}
    for name, task, closed_form, lengths in (
        ("bayes_risk_of_v4", SparseParity.paper_v4(), closed_form_v4, [10, 12, 14, 17, 20, 25, 30, 40, 50, 60]),
        ("bayes_risk_of_v1", SparseParity.paper_v1(), closed_form_v1, [20, 24, 27, 32, 36, 43, 50, 63, 77, 94]),
    ):
        value, error = sampled(task, lengths, n_samples)
        exact = [task.bayes_risk(l) for l in lengths]
        formula = [closed_form(l) for l in lengths]
        over = ("of", "context_length")
        table = xr.Dataset(
            {
                "value": (over, [exact, formula, value]),
                "lower": (over, [exact, formula, value - error]),
                "upper": (over, [exact, formula, value + error]),
            },
            {"of": ["exact", "closed form", "loss of the Bayes predictor"], "context_length": lengths},
        )
        labels = {"value": "Bayes risk $R(l)$ (nats)", "context_length": "context length $l$ (tokens)", "of": "risk"}
        found[name] = labelled(table, labels)
    return Result(found)


REPRODUCTION = Reproduction(
    "Bayes risk of the published parity tasks",
    claim="The Bayes risk of the parity task is close to A + B / (l + C)^alpha.",
    source="arXiv 2502.01481 v4, Figure 6 and section 4.2",
    make=make,
)
