"""The loss of a fixed model as it is shown more or less of its context."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr

from simulator.learners.evaluation import evaluate
from simulator.learners.network_predictor import NetworkPredictor
from theory.checks import check_integer, check_sequence


def visible_context_sweep(
    predictor: NetworkPredictor, context_lengths: Sequence[int], seed: int = 0, test_size: int = 8192
) -> xr.Dataset:
    """Evaluate one trained network at several visible context lengths, on the same test samples.

    The tokens beyond l are out of sight, as they are for a network trained on l of them. Unlike in a study the
    parameters are the same at every l: the rise of the loss above R(l) is that of a model used at a length that it may
    not have been trained for.

    Args:
        predictor: what a learner returned.
        context_lengths: l, each in 0..L.
        seed: of the test samples.
        test_size: their number.

    Returns:
        A Dataset over context_length: ``approximation_loss``, ``test_loss``, their standard errors, and the exact
        ``bayes_risk``.
    """
    task = predictor.task
    lengths = [
        check_integer("a context length", length, 0, task.max_context_length)
        for length in check_sequence("context_lengths", context_lengths)
    ]
    if not lengths:
        raise ValueError("context_lengths must name at least one length; got none")
    measured = [
        dataclasses.asdict(
            evaluate(task, dataclasses.replace(predictor, context_length=np.int32(length)), seed, test_size)
        )
        for length in lengths
    ]
    columns = {name: ("context_length", [row[name] for row in measured]) for name in measured[0]}
    risks = ("context_length", [task.bayes_risk(length) for length in lengths])
    return xr.Dataset({**columns, "bayes_risk": risks}, {"context_length": lengths}, {"unit": task.unit})
