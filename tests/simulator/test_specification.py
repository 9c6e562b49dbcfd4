"""Specs as canonical JSON: one text, one name, and back."""

import dataclasses
import os
import subprocess
import sys

import pytest

from simulator import Study
from simulator.learners import GradientDescent, LeastSquares
from simulator.models import MLP, Transformer
from simulator.specification import SpecificationError, canonical_json, digest, from_json
from simulator.tasks import GaussianLookBack, SparseParity
from simulator.training.curriculum import Stage

STUDY = Study(SparseParity(((2, 1), (4, 2)), 5), GradientDescent(model=MLP((8,)), steps=10), (1, 5), (10, 20), seeds=2)


@dataclasses.dataclass(frozen=True)
class OwnTask(SparseParity):
    """A user's task, defined outside this project."""

    extra: float = 0.5


STORED = {
    ("1cb35275c4fd39f9", "3d6e35738c9da4c5"): GradientDescent(steps=10),
    ("1ac89ce959049633", "d39c7e6e98e1ce35"): GradientDescent.paper_v1(),
    ("dc3dd987411679d0", "340c76bccb67e7eb"): GradientDescent(epochs=3, curriculum=(Stage(0.5), Stage(0.5))),
    ("09e3a38c82891819", "b7bcdc247466b7e9"): GradientDescent(
        model=Transformer(), steps=10, schedule="cosine", warmup=0.1, gradient_clip=None, precision="mixed"
    ),
}
"""Learners by the first digits of two digests: of the study that has the learner, and of the study's first run.
A store finds its runs by such digests, so they never change."""


def test_studies_and_runs_keep_the_digests_by_which_stores_find_them():
    for expected, learner in STORED.items():
        study = dataclasses.replace(STUDY, learner=learner)
        texts = study.to_json(), study.run_spec(study.runs()[0])
        assert tuple(digest(text)[:16] for text in texts) == expected, learner


def test_a_study_survives_json():
    assert Study.from_json(STUDY.to_json()) == STUDY
    assert Study.from_json(STUDY.to_json()).to_json() == STUDY.to_json()


def test_numbers_are_named_by_value_not_by_how_they_were_written():
    a = GaussianLookBack.designed(1, 3, 0.6, 1, 64)
    b = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 64)
    assert canonical_json(a) == canonical_json(b)
    lists = Study(STUDY.task, STUDY.learner, [1, 5], [10, 20], seeds=2)
    assert lists == STUDY
    assert lists.to_json() == STUDY.to_json()


def test_the_name_is_the_same_in_every_process():
    """Whatever the hash seed of the process."""
    code = f"from simulator.specification import *; print(digest(from_json({STUDY.to_json()!r}).to_json()))"
    other = {"PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=other)
    assert child.stdout.strip() == digest(STUDY.to_json())


def test_every_field_changes_the_name():
    learner = STUDY.learner
    changed = [
        dataclasses.replace(STUDY, seeds=3),
        dataclasses.replace(STUDY, test_size=17),
        dataclasses.replace(STUDY, context_lengths=(1, 4)),
        dataclasses.replace(STUDY, learner=dataclasses.replace(learner, learning_rate=0.1)),
        dataclasses.replace(STUDY, learner=dataclasses.replace(learner, model=MLP((9,)))),
        dataclasses.replace(STUDY, task=SparseParity(((2, 1), (4, 3)), 5)),
    ]
    assert len({digest(s.to_json()) for s in [STUDY, *changed]}) == 7


def test_a_run_s_name_does_not_depend_on_the_grid_it_belongs_to():
    wide = dataclasses.replace(STUDY, context_lengths=(0, 1, 3, 5), dataset_sizes=(10, 15, 20), seeds=9)
    names = {wide.run_spec(run) for run in wide.runs()}
    assert {STUDY.run_spec(run) for run in STUDY.runs()} <= names


def test_a_user_s_own_classes_are_found_by_module():
    task = OwnTask(((2, 1),), 3)
    assert '"type":"tests.simulator.test_specification.OwnTask"' in canonical_json(task)
    assert from_json(canonical_json(task)) == task


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"a": 1}', "a spec names its type"),
        ('{"type": 5}', "a type is named by a string; got 5"),
        ('{"type": "Nonsense"}', "unknown type 'Nonsense'"),
        ('{"type": "canonical_json"}', "unknown type"),
        ('{"type": "no.such.module.Task"}', "cannot import 'no.such.module'"),
        ('{"type": "LeastSquares", "ridge": 1}', r"LeastSquares has no field \['ridge'\]"),
        ('{"type": "MLP", "hidden_sizes": [0]}', "MLP: a hidden size must be at least 1; got 0"),
        ('{"type": "SparseParity"}', "SparseParity: .*missing"),
    ],
)
def test_what_is_no_spec_is_refused(text, message):
    with pytest.raises(SpecificationError, match=message):
        from_json(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, lambda: 0])
def test_what_is_no_plain_value_cannot_be_in_a_spec(value):
    with pytest.raises(SpecificationError, match="a spec holds"):
        canonical_json((1, value))


def test_json_of_something_else_is_no_study():
    with pytest.raises(ValueError, match="describes a LeastSquares, not a Study"):
        Study.from_json(canonical_json(LeastSquares()))
