"""An MLP on position-weighted sparse parity: Figure 1 (middle) and Appendix F of arXiv 2502.01481.

``laptop`` is a reduced setting of our own (24 tasks on 64 bits, width 64, batch 128): the paper's grid needs an
accelerator. ``paper`` is the public code's: 50 tasks on 100 bits, its network, its hyper-parameters, its grid.

Two settings of ``laptop`` keep optimisation out of l*. Patience grows with a run, because the tasks are learned in
steps, with plateaus between them. There is no weight decay: with it, networks generalise thousands of steps after they
have overfitted (grokking), and l* depends on how long one waits.
"""

from paper_reproduction.reproduction import Scale
from paper_reproduction.study_report import study_reproduction
from simulator import Study
from simulator.learners import GradientDescent, GrowingPatience
from simulator.models import MLP
from simulator.tasks import SparseParity


def study(scale: Scale) -> Study:
    """The grid at a scale."""
    if scale == "paper":
        return Study(
            task=SparseParity.paper_v1(),
            learner=GradientDescent.paper_v1(),
            context_lengths=(27, 32, 36, 43, 63, 94),
            dataset_sizes=(50_000, 75_000, 85_000, 100_000, 150_000, 200_000, 400_000, 2_000_000),
            seeds=4,
            test_size=100_000,
        )
    if scale == "smoke":
        return Study(
            task=SparseParity.pareto(n_tasks=8, max_context_length=16, nearest=2, exponent=0.7),
            learner=GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=100, weight_decay=0.3, validation_size=512),
            context_lengths=(2, 4, 16),
            dataset_sizes=(128, 256, 512, 1024),
            seeds=2,
            test_size=512,
        )
    return Study(
        task=SparseParity.pareto(n_tasks=24, max_context_length=64, nearest=2, exponent=0.7),
        learner=GradientDescent(
            model=MLP(hidden_sizes=(64, 64)),
            steps=30_000,
            batch_size=128,
            weight_decay=0.0,
            patience=GrowingPatience(factor=3),
            precision="mixed",
        ),
        context_lengths=(2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64),
        dataset_sizes=(724, 1024, 1448, 2048, 2896, 4096, 5793, 8192, 11585, 16384, 23170),
        seeds=4,
    )


REPRODUCTION = study_reproduction(
    "MLP on position-weighted sparse parity",
    claim="The best context length grows with the dataset size.",
    source="arXiv 2502.01481 v4, Figures 1 (middle) and 15, Appendix F",
    study=study,
)
