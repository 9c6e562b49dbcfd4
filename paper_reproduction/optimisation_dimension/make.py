"""The number of dimensions that training needs, against context length: d_90 in random subspaces.

Linear regression needs 0.9 of the weights in sight, exactly
(:func:`theory.learning_curves.random_subspace.remaining_loss`): with l
tokens and a bias, d_90 = 0.9 (l + 1). A network on sparse parities has a question for each parity that its context
answers; whether d_90 grows with their number is what is measured, with one scale for all (DID) and one for each array
of weights (SAID, arXiv 2012.13255).
"""

import dataclasses
import pathlib

import numpy as np
import xarray as xr
from jaxtyping import Float

from paper_reproduction.kept_parts import ENDLESS
from paper_reproduction.report_tables import labelled
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import GradientDescent, NetworkPredictor
from simulator.learners.evaluation import evaluate
from simulator.models import MLP, Model, RandomSubspace
from simulator.models.random_subspace import Projection
from simulator.random.streams import stream_key
from simulator.tasks import GaussianLookBack, SparseParity, Task
from theory.learning_curves.random_subspace import sufficient_dimension
from theory.measured.intervals import jackknife_interval

SERIES = GaussianLookBack.independent(C0=0.5, C=1.0, gamma=0.5, b=1.0, max_context_length=32)
PARITIES = SparseParity(pairs=tuple((far, 1) for far in (2, 3, 4, 6, 8, 12, 16, 24)), max_context_length=24)
TEST_SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Setting:
    """A network on a task, and the subspaces it is trained in.

    Attributes:
        task: what is learned, from endless data.
        model: the network whose parameters a subspace holds.
        steps: number of steps of a training.
        learning_rate: peak learning rate of coordinates and of parameters; it falls along a cosine.
        context_lengths: lengths of the figure.
        dimensions: numbers of dimensions d of the subspaces.
        subspace: the projection, and whether each layer has a scale of its own.
    """

    task: Task
    model: Model
    steps: int
    learning_rate: float
    context_lengths: tuple[int, ...]
    dimensions: tuple[int, ...]
    subspace: tuple[Projection, bool]

    def learner(self, dimension: int | None) -> GradientDescent:
        """The learner in a subspace of the given dimension, or on all parameters for None."""
        model = self.model if dimension is None else RandomSubspace(self.model, dimension, *self.subspace)
        return GradientDescent(
            model, steps=self.steps, learning_rate=self.learning_rate, schedule="cosine", weight_decay=0.0,
            batch_size=128, patience=None, validation_size=4096,
        )  # fmt: skip


def settings(scale: Scale) -> dict[str, Setting]:
    """Linear regression, whose answer is known; and a network on parities, by both ways of taking a subspace."""
    linear, network = MLP(hidden_sizes=()), MLP(hidden_sizes=(64, 64))
    if scale == "smoke":
        return {
            "linear regression": Setting(
                task=SERIES,
                model=linear,
                steps=200,
                learning_rate=0.05,
                context_lengths=(2,),
                dimensions=(2, 3),
                subspace=("dense", False),
            )
        }
    lengths = (2, 4, 8, 16, 24)
    # The curve of linear regression has its kink at l + 1.
    few, many = (1, 2, 3, 4, 5, 7, 9, 13, 17, 21, 25), tuple(2**i for i in range(5, 13))
    return {
        "linear regression": Setting(
            task=SERIES,
            model=linear,
            steps=2000,
            learning_rate=0.05,
            context_lengths=lengths,
            dimensions=few,
            subspace=("dense", False),
        ),
        "linear regression, Fastfood": Setting(
            task=SERIES,
            model=linear,
            steps=2000,
            learning_rate=0.05,
            context_lengths=lengths,
            dimensions=few,
            subspace=("fastfood", False),
        ),
        "network on parities, DID": Setting(
            task=PARITIES,
            model=network,
            steps=3000,
            learning_rate=5e-3,
            context_lengths=lengths,
            dimensions=many,
            subspace=("fastfood", False),
        ),
        "network on parities, SAID": Setting(
            task=PARITIES,
            model=network,
            steps=3000,
            learning_rate=5e-3,
            context_lengths=lengths,
            dimensions=many,
            subspace=("fastfood", True),
        ),
    }


def untrained_loss(setting: Setting, context_length: int, seed: int) -> float:
    """The loss at the initial parameters of a seed, where its trainings in subspaces start too."""
    parameters = setting.model.init(setting.task, stream_key(seed, "initialisation"), context_length)
    predictor = NetworkPredictor(
        task=setting.task, model=setting.model, parameters=parameters, context_length=np.int32(context_length)
    )
    gap = evaluate(setting.task, predictor, seed, TEST_SIZE).approximation_loss
    return gap + setting.task.bayes_risk(context_length)


def dimensions_needed(
    setting: Setting, folder: pathlib.Path, n_seeds: int, workers: int
) -> tuple[Float[np.ndarray, "l"], Float[np.ndarray, "l"], Float[np.ndarray, "l"]]:
    """d_90 of the mean loss at each context length, with its jackknife interval; NaN where the grid ends before it."""
    lengths = setting.context_lengths
    losses = [np.array([[untrained_loss(setting, length, seed) for seed in range(n_seeds)] for length in lengths])]
    for d in (None, *setting.dimensions):
        study = Study(setting.task, setting.learner(d), lengths, (ENDLESS,), seeds=n_seeds, test_size=TEST_SIZE)
        results = run(study, folder, workers=workers)
        losses.append(results["loss"].isel(dataset_size=0).transpose("context_length", "seed").values)

    def d_90(mean: Float[np.ndarray, "kinds l"]) -> Float[np.ndarray, "l"]:
        found = [
            sufficient_dimension(setting.dimensions, reached, untrained, full)
            for untrained, full, *reached in mean.T.tolist()
        ]
        return np.array([np.nan if d is None else d for d in found])

    return jackknife_interval(d_90, np.stack(losses))


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """d_90 against context length, for every setting, and the line of linear regression."""
    n_seeds, of = {"smoke": 2, "laptop": 3, "paper": 16}[scale], settings(scale)
    rows = {
        name: dimensions_needed(setting, folder / "runs" / name.replace(" ", "_").replace(",", ""), n_seeds, workers)
        for name, setting in of.items()
    }
    lengths = np.array(next(iter(of.values())).context_lengths)
    exact = 0.9 * (lengths + 1)
    rows["0.9 (l + 1), exact for linear regression"] = (exact, exact, exact)
    parts = zip(("value", "lower", "upper"), zip(*rows.values(), strict=True), strict=True)
    table = xr.Dataset(
        {part: (("network", "context_length"), np.stack(values)) for part, values in parts},
        {"network": list(rows), "context_length": lengths},
    )
    labels = {
        "value": "dimensions for 90 % of the gain, $d_{90}$ (no unit)",
        "context_length": "context length $l$ (tokens)",
        "network": "what is trained",
    }
    return Result({"dimensions_needed": labelled(table, labels, scale="log2")})


REPRODUCTION = Reproduction(
    "Dimensions that a training needs",
    claim="Training needs few dimensions of a random subspace; does their number grow with the context?",
    source="arXiv 2012.13255, for the method",
    make=make,
)
