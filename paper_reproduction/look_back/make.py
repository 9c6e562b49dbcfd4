"""Least squares on a Gaussian series of designed memory: the look-back horizon of arXiv 2405.15124, exactly solvable.

The measured optimum stands beside the exact one, R(l) (D-1)/(D-l-1) minimised over the grid.
"""

from paper_reproduction.reproduction import Scale
from paper_reproduction.study_report import study_reproduction
from simulator import Study
from simulator.learners import LeastSquares
from simulator.tasks import GaussianLookBack


def study(scale: Scale) -> Study:
    """The grid at a scale."""
    if scale == "smoke":
        return Study(
            task=GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=32),
            learner=LeastSquares(),
            context_lengths=(1, 2, 4, 8, 16, 32),
            dataset_sizes=(64, 128, 256, 512),
            seeds=4,
            test_size=1024,
        )
    long = scale == "paper"
    return Study(
        task=GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=256 if long else 128),
        learner=LeastSquares(),
        context_lengths=(2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128) + ((181, 256) if long else ()),
        dataset_sizes=tuple(64 * 2**i for i in range(11 if long else 8)),
        seeds=128,
        test_size=4096,
    )


def exact_optimum(of: Study, dataset_size: int) -> int:
    """l* of the exact expected risk, on the study's grid."""
    if not (isinstance(of.learner, LeastSquares) and isinstance(of.task, GaussianLookBack)):
        raise TypeError("the exact optimum is known for least squares on a Gaussian look-back task")
    known = [length for length in of.context_lengths if length <= dataset_size - 2]
    learner, task = of.learner, of.task
    return min(known, key=lambda length: learner.expected_risk(task, length, dataset_size))


REPRODUCTION = study_reproduction(
    "Least squares on a designed Gaussian look-back process",
    claim="The optimal look-back horizon grows with the number of samples.",
    source="arXiv 2405.15124",
    study=study,
    exact_optimum=exact_optimum,
)
