"""What a task states about itself: its form, in either of two ways, and the text that names its runs."""

import dataclasses
import re

import pytest

from simulator.specification import canonical_json, digest
from simulator.tasks import EXAMPLES, Task, TaskForm
from simulator.tasks.parity import MultitaskParity

SPECS = (
    "e8b3d6659b03aef1cd441af65e8b5af0b75b96ff4f73cfea6134d89a7e8775ebfbadc1b69397e9fea553585341e99915"
    "8869a3f8903d3386582bb1118709f5667c292c223bde6f2db4615f62b45dc0a6fb46e141b35da516c5d4b5457c703ae0"
    "1641f0a094be5a48356b6f6e067b93bdd633b4d4"
)


def test_every_example_has_the_spec_that_named_its_stored_runs():
    """The first digits of the SHA-256 of each spec. A stored run is found again only while they stay."""
    assert "".join(digest(canonical_json(task))[:8] for task in EXAMPLES) == SPECS


def test_what_a_task_does_not_state_itself_is_read_from_its_form():
    for task in EXAMPLES:
        for field in dataclasses.fields(TaskForm):
            assert getattr(task, field.name) == getattr(task.form, field.name)
    with pytest.raises(AttributeError, match="'LagCopy' object has no attribute 'n_clases'"):
        _ = EXAMPLES[16].n_clases


class Bits(MultitaskParity):
    """A parity that states its attributes one by one."""

    def subsets(self):
        return ((1, 2),)

    def relative_frequencies(self):
        return None


@dataclasses.dataclass(frozen=True)
class OneByOne(Bits):
    max_context_length: int
    n_classes = 3
    form = Task.form


@dataclasses.dataclass(frozen=True)
class Misspelt(Bits):
    max_context_length: int

    @property
    def form(self):
        return TaskForm(self.max_contxt_length, "log_loss")


@dataclasses.dataclass(frozen=True)
class Unstated(Bits):
    max_length: int
    form = Task.form


def test_attributes_stated_one_by_one_make_a_form():
    assert OneByOne(4).form == TaskForm(4, "log_loss", n_classes=3)
    assert OneByOne(4).n_queries == 1


def test_a_form_that_cannot_be_read_says_what_to_write():
    with pytest.raises(AttributeError, match="no attribute 'max_contxt_length'"):
        _ = Misspelt(4).n_queries
    message = "Unstated does not state its max_context_length: give it a property form, as in `return TaskForm(max_co"
    with pytest.raises(TypeError, match=re.escape(message)):
        _ = Unstated(4).max_context_length


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ((8, "nll"), "loss must be one of 'log_loss', 'squared_error'; got 'nll'"),
        ((0, "log_loss"), "max_context_length must be at least 1; got 0"),
        ((8, "log_loss", 0), "vocabulary_size must be at least 1; got 0"),
        ((8, "log_loss", 2, 2, 0), "n_queries must be at least 1; got 0"),
    ],
)
def test_a_form_that_cannot_be_is_refused(form, message):
    with pytest.raises(ValueError, match=message):
        TaskForm(*form)
