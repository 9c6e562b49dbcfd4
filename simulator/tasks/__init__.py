"""Generators of sequences, one file each; every task knows its exact truth."""

from simulator.tasks.associative_recall import AssociativeRecall
from simulator.tasks.base import ClassificationTask, Examples, RegressionTask, Task, TaskForm
from simulator.tasks.gaussian_look_back import GaussianLookBack
from simulator.tasks.gaussian_processes import ArfimaProcess, DesignedProcess, IndependentTokens
from simulator.tasks.gaussian_task import GaussianTask
from simulator.tasks.graph_walk import GraphWalk
from simulator.tasks.hidden_markov import HiddenMarkov
from simulator.tasks.hierarchical_gaussian import HierarchicalGaussian
from simulator.tasks.in_context_regression import InContextRegression
from simulator.tasks.lag_copy import LagCopy
from simulator.tasks.manifold_teacher import ManifoldTeacher
from simulator.tasks.markov_chain import MarkovChain
from simulator.tasks.parity import MultitaskParity
from simulator.tasks.random_hierarchy import RandomHierarchy
from simulator.tasks.renewal import Renewal
from simulator.tasks.retrieval import Retrieval
from simulator.tasks.santa_fe import SantaFe
from simulator.tasks.sparse_parity import SparseParity
from simulator.tasks.variable_tracking import VariableTracking
from simulator.tasks.wrappers.every_position import EveryPosition
from simulator.tasks.wrappers.irrelevant_tokens import IrrelevantTokens
from simulator.tasks.wrappers.mixture import Mixture
from simulator.tasks.zipf_quanta import ZipfQuanta

EXAMPLES: tuple[Task, ...] = (
    SparseParity.pareto(n_tasks=12, max_context_length=16, nearest=2, exponent=1.0),
    SparseParity(((2, 1), (3, 1), (3, 2), (5, 4), (9, 1)), 8, frequencies=(0.4, 0.25, 0.15, 0.1, 0.1)),
    GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=16),
    GaussianLookBack.arfima(d=0.4, max_context_length=16),
    GaussianLookBack.independent(C0=0.5, C=1.0, gamma=0.6, b=1.0, max_context_length=16),
    GaussianLookBack.designed(C0=1.0, C=3.0, gamma=0.6, b=1.0, max_context_length=16, loss="log_loss"),
    GaussianLookBack.arfima(d=0.3, max_context_length=8, n_steps=3, n_irrelevant_channels=2),
    HierarchicalGaussian(n_layers=2),
    InContextRegression(n_features=3, noise_variance=0.25, max_context_length=9),
    ManifoldTeacher(max_context_length=8, gamma=0.5),
    ManifoldTeacher(max_context_length=6, dimension_profile=(1, 1, 2, 3, 3, 4), ambient_dimension=3),
    MarkovChain.random(order=2, vocabulary_size=3, concentration=0.5, max_context_length=8),
    HiddenMarkov.symmetric(n_states=3, stay=0.9, accuracy=0.85, max_context_length=8),
    GraphWalk.random(n_nodes=8, n_edges=12, max_context_length=8),
    Renewal(exponent=1.5, max_context_length=12, max_gap=1000),
    RandomHierarchy(vocabulary_size=4, n_synonyms=2, branching=2, n_levels=3),
    LagCopy(vocabulary_size=3, beta=0.8, first_probability=0.2, max_context_length=12),
    SantaFe(n_facts=20, b=0.5, max_context_length=12),
    SantaFe(n_facts=20, b=0.5, max_context_length=12, facts="fixed"),
    Retrieval(n_needles=2, n_answers=3, max_context_length=12),
    Retrieval(n_needles=2, n_answers=2, max_context_length=12, distance_law="pareto", nearest=2, rule="and"),
    AssociativeRecall(n_pairs=6, n_keys=8, n_values=4, gap_exponent=1.0),
    VariableTracking(n_chains=4, chain_length=3, n_values=3),
    ZipfQuanta(n_tasks=20, max_context_length=16, alpha=0.4, distance_exponent=1.0, nearest=2),
    ZipfQuanta(n_tasks=8, max_context_length=12, alpha=0.4, distance_exponent=1.0, nearest=2, distances="coupled"),
    Mixture((LagCopy(3, 0.8, 0.2, 8), Retrieval(1, 2, 12, n_distractors=2)), (0.4, 0.6)),
    IrrelevantTokens(LagCopy(3, 0.8, 0.2, 6), relevant_fraction=0.5, kind="repeat", relevance="visible"),
    IrrelevantTokens(Retrieval(2, 2, 6), relevant_fraction=0.5, kind="distractor", placement="middle"),
    IrrelevantTokens(GaussianLookBack.arfima(d=0.4, max_context_length=6), relevant_fraction=0.5),
)
"""One modest instance of each task, and of each of its variants."""

__all__ = [
    "EXAMPLES",
    "ArfimaProcess",
    "AssociativeRecall",
    "ClassificationTask",
    "DesignedProcess",
    "EveryPosition",
    "Examples",
    "GaussianLookBack",
    "GaussianTask",
    "GraphWalk",
    "HiddenMarkov",
    "HierarchicalGaussian",
    "InContextRegression",
    "IndependentTokens",
    "IrrelevantTokens",
    "LagCopy",
    "ManifoldTeacher",
    "MarkovChain",
    "Mixture",
    "MultitaskParity",
    "RandomHierarchy",
    "RegressionTask",
    "Renewal",
    "Retrieval",
    "SantaFe",
    "SparseParity",
    "Task",
    "TaskForm",
    "VariableTracking",
    "ZipfQuanta",
]
