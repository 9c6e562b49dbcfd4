"""How fast PyTorch trains what the simulator trains: the paper's network, and one run of the laptop grid.

    python -m tests.benchmarks.pytorch_baselines paper tuned-bfloat16 --threads 1 --epochs 4
    python -m tests.benchmarks.pytorch_baselines grid tuned-float32 --context-length 16 --dataset-size 4096

prints one line of JSON. Data, network and hyper-parameters are the simulator's own objects; only the training is
PyTorch's, by one of three contenders. ``published`` is built as the paper's public code is: a Dataset that hands out
one sample at a time, a DataLoader, a plain loop that reads the loss after every step. ``tuned-float32`` and
``tuned-bfloat16`` keep the data in memory and do what made training faster where it was measured, an AVX-512 CPU with
PyTorch 2.13: memory is kept for reuse; the wide network runs eagerly, in pieces of a batch that stay in cache, for nine
tenths of its time are matrix products and compiling made it slower; a step of the narrow one is a single compiled
program, for most of its time was spent between the products.

PyTorch is no dependency of the project: ``pip install torch`` first. No clock runs while data are drawn, programs
compile or caches warm up.
"""

import argparse
import copy
import ctypes
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from torch.utils.data import DataLoader, Dataset

from simulator.learners import GradientDescent
from simulator.models import MLP
from simulator.random.streams import Stream, stream_key
from simulator.tasks import SparseParity

Contender: TypeAlias = Literal["published", "tuned-float32", "tuned-bfloat16"]

PAPER_TASK = SparseParity.paper_v1()
PAPER_LEARNER = GradientDescent.paper_v1()
PAPER_CONTEXT_LENGTH = 63
PAPER_DATASET_SIZE = 200_000

GRID_TASK = SparseParity.pareto(n_tasks=24, max_context_length=64, nearest=2, exponent=0.7)
GRID_LEARNER = GradientDescent(model=MLP(hidden_sizes=(64, 64)), steps=6000, batch_size=256, weight_decay=0.3)

_PIECE = 2500
"""Samples whose activations of the wide network stay in cache, in either precision."""


class Data(NamedTuple):
    """Samples in memory: [visible bits, one-hot query] of shape (D, l + tasks), and answers of shape (D,)."""

    inputs: Tensor
    answers: Tensor


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """The same, one at a time."""

    def __init__(self, data: Data):
        self.data = data

    def __len__(self) -> int:
        return len(self.data.answers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.data.inputs[index], self.data.answers[index]


def draw(
    task: SparseParity, learner: GradientDescent, stream: Stream, seed: int, size: int, context_length: int
) -> Data:
    """The samples the simulator would train or validate on, as its network would see them."""
    examples = jax.device_get(jax.jit(task.sample)(stream_key(seed, stream), np.arange(size, dtype=np.int32)))
    visible = examples.context[:, task.max_context_length - context_length :]
    bits = np.float32(learner.model.bit_values)[visible]
    query = np.eye(task.n_queries, dtype=np.float32)[examples.query]
    return Data(torch.tensor(np.hstack([bits, query])), torch.tensor(examples.target, dtype=torch.float32))


def network(model: MLP, n_inputs: int) -> nn.Sequential:
    """The model as a PyTorch module from inputs (B, n_inputs) to logits (B,); both start from the same law."""
    layers: list[nn.Module] = []
    slopes = model.negative_slopes or (0.0,) * len(model.hidden_sizes)
    for (i, o), slope in zip(itertools.pairwise((n_inputs, *model.hidden_sizes)), slopes, strict=True):
        layers.append(nn.Linear(i, o))
        if slope != 1:
            layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(model.hidden_sizes[-1], 1), nn.Flatten(0))


def published(learner: GradientDescent, module: nn.Module, data: Data) -> Iterator[None]:
    """Trains the module for ever, a step at a time."""
    # No worker processes: on one core two of them made it slower, on two cores no faster.
    loader = DataLoader(Samples(data), learner.batch_size, shuffle=True)
    optimizer = torch.optim.AdamW(module.parameters(), learner.learning_rate, weight_decay=learner.weight_decay)
    loss_function = nn.BCEWithLogitsLoss()
    losses = []
    while True:
        for inputs, answers in loader:
            optimizer.zero_grad()
            loss = loss_function(module(inputs), answers)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), learner.gradient_clip)
            optimizer.step()
            losses.append(loss.item())
            yield


def keep_freed_memory() -> None:
    """Have glibc reuse what is freed: returned to the system, it comes back as thousands of page faults a step."""
    if sys.platform == "linux":
        c = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_threshold = -1, -3  # as malloc.h numbers them
        c.mallopt(m_trim_threshold, 2**31 - 1)
        c.mallopt(m_mmap_threshold, 2**30)


def tuned_wide(learner: GradientDescent, module: nn.Module, data: Data, bfloat16: bool) -> Iterator[None]:
    """The same, eagerly, each batch in pieces whose gradients add up."""
    if bfloat16:
        data = data._replace(inputs=data.inputs.bfloat16())
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, learner.learning_rate, weight_decay=learner.weight_decay, fused=True)
    while True:
        for batch in torch.randperm(len(data.answers)).split(learner.batch_size):
            optimizer.zero_grad(set_to_none=True)
            for piece in batch.split(_PIECE):
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    logits = module(data.inputs.index_select(0, piece))
                answers = data.answers.index_select(0, piece)
                loss = binary_cross_entropy_with_logits(logits.float(), answers, reduction="sum") / len(batch)
                loss.backward()
            nn.utils.clip_grad_norm_(parameters, learner.gradient_clip, foreach=True)
            optimizer.step()
            yield


def tuned_narrow(learner: GradientDescent, module: nn.Sequential, data: Data, bfloat16: bool) -> Iterator[None]:
    """The same, each step one compiled program of fixed shapes: gradient, clipping and AdamW on one flat vector.

    A short last batch is filled up with samples that do not count.
    """
    size, batch_size = len(data.answers), learner.batch_size
    n_batches = -(-size // batch_size)
    places = torch.arange(n_batches * batch_size)
    counted = (places < size).float().split(batch_size)
    shares = [batch / batch.sum() for batch in counted]
    flat = nn.utils.parameters_to_vector(module.parameters()).detach()
    nn.utils.vector_to_parameters(flat, module.parameters())  # each parameter is now a view of the vector
    first, second, n = torch.zeros_like(flat), torch.zeros_like(flat), torch.zeros(())
    step = compiled_step(learner, data.inputs.shape[1], bfloat16)
    while True:
        order = torch.randperm(size)[places % size]
        inputs, answers = (column.index_select(0, order).split(batch_size) for column in data)
        for batch in zip(inputs, answers, shares, strict=True):
            step(flat, first, second, n, *batch)
            yield


class Readout(nn.Linear):
    """A linear layer with one output, not as a matrix product: the compiler fuses it with its neighbours."""

    def forward(self, input: Tensor) -> Tensor:
        return (input * self.weight).sum(1) + self.bias


@functools.cache
def compiled_step(learner: GradientDescent, n_inputs: int, bfloat16: bool):
    """One step, in place, on parameters, both moments and the step's number; ``shares`` weigh the samples' losses."""
    skeleton = network(learner.model, n_inputs)
    skeleton[-2] = Readout(learner.model.hidden_sizes[-1], 1)
    shapes = {name: parameter.shape for name, parameter in skeleton.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]
    rate, beta1, beta2, epsilon = learner.learning_rate, 0.9, 0.999, 1e-8

    def loss(flat: Tensor, inputs: Tensor, answers: Tensor, shares: Tensor) -> Tensor:
        pieces = zip(shapes.items(), flat.split(sizes), strict=True)
        parameters = {name: piece.view(shape) for (name, shape), piece in pieces}
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = torch.func.functional_call(skeleton, parameters, inputs)
        return binary_cross_entropy_with_logits(logits.float(), answers, shares, reduction="sum")

    def step(
        flat: Tensor, first: Tensor, second: Tensor, n: Tensor, inputs: Tensor, answers: Tensor, shares: Tensor
    ) -> None:
        gradient = torch.func.grad(loss)(flat, inputs, answers, shares)
        gradient = gradient * (learner.gradient_clip / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp(max=1.0)
        n.add_(1)
        first.lerp_(gradient, 1 - beta1)
        second.lerp_(gradient * gradient, 1 - beta2)
        size = (second / (1 - beta2**n)).sqrt() + epsilon
        flat.mul_(1 - rate * learner.weight_decay).sub_(rate / (1 - beta1**n) * first / size)

    return torch.compile(step, fullgraph=True, dynamic=False)


def train_paper(contender: Contender, n_epochs: int, threads: int) -> float:
    """Samples a second of the paper's training at l = 63 and D = 200,000, after an epoch that is not counted."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    learner = PAPER_LEARNER
    data = draw(PAPER_TASK, learner, "train", 0, PAPER_DATASET_SIZE, PAPER_CONTEXT_LENGTH)
    module = network(learner.model, data.inputs.shape[1])
    if contender == "published":
        steps = published(learner, module, data)
    else:
        keep_freed_memory()
        steps = tuned_wide(learner, module, data, bfloat16=contender == "tuned-bfloat16")
    per_epoch = learner.chunk_steps(PAPER_DATASET_SIZE)
    for _ in range(per_epoch):
        next(steps)
    start = time.perf_counter()
    for _ in range(n_epochs * per_epoch):
        next(steps)
    return n_epochs * PAPER_DATASET_SIZE / (time.perf_counter() - start)


def train_grid_run(contender: Contender, context_length: int, dataset_size: int, seed: int) -> tuple[int, float, float]:
    """One run of the grid, stopped as the simulator stops: steps taken, best validation loss, seconds.

    The compiled program is made once a process, for the longest context; shorter ones are filled up with zeros.
    """
    torch.manual_seed(seed)
    learner = GRID_LEARNER
    train = draw(GRID_TASK, learner, "train", seed, dataset_size, context_length)
    validation = draw(GRID_TASK, learner, "validation", seed, learner.validation_size, context_length)
    module = network(learner.model, train.inputs.shape[1])
    if contender == "published":
        trained = functools.partial(published, learner, data=train)
    else:
        keep_freed_memory()
        hidden = GRID_TASK.max_context_length - context_length
        train, validation = (data._replace(inputs=pad(data.inputs, (0, hidden))) for data in (train, validation))
        module[0].weight = nn.Parameter(pad(module[0].weight.detach(), (0, hidden)))
        trained = functools.partial(tuned_narrow, learner, data=train, bfloat16=contender == "tuned-bfloat16")
    next(trained(module=copy.deepcopy(module)))

    @torch.no_grad()
    def validation_loss() -> float:
        return binary_cross_entropy_with_logits(module(validation.inputs), validation.answers).item()

    def parameters() -> dict[str, Tensor]:
        return copy.deepcopy(module.state_dict())

    with torch.compiler.set_stance(skip_guard_eval_unsafe=True):  # every step has the shapes of the one above
        start = time.perf_counter()
        steps = trained(module=module)
        best_loss, best_parameters, waited, n_steps = validation_loss(), parameters(), 0, 0
        while waited < learner.patience and n_steps < learner.steps:
            n_steps += sum(1 for _ in itertools.islice(steps, learner.chunk_steps(dataset_size)))
            loss = validation_loss()
            waited += 1
            if loss < best_loss:
                best_loss, best_parameters, waited = loss, parameters(), 0
        module.load_state_dict(best_parameters)
        return n_steps, best_loss, time.perf_counter() - start


def main() -> None:
    """Print the figures of one case and contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=("paper", "grid"))
    parser.add_argument("contender", choices=get_args(Contender))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4, help="epochs to be timed (paper)")
    parser.add_argument("--context-length", type=int, default=16, help="visible bits (grid)")
    parser.add_argument("--dataset-size", type=int, default=4096, help="training samples (grid)")
    parser.add_argument("--seed", type=int, default=0, help="seed of data, network and order (grid)")
    given = parser.parse_args()
    figures = {"case": given.case, "contender": given.contender, "threads": given.threads}
    if given.case == "paper":
        figures["samples_per_second"] = train_paper(given.contender, given.epochs, given.threads)
    else:
        torch.set_num_threads(given.threads)
        run = (given.context_length, given.dataset_size, given.seed)
        steps, loss, seconds = train_grid_run(given.contender, *run)
        figures |= dict(zip(("context_length", "dataset_size", "seed"), run, strict=True))
        figures |= {"steps": steps, "validation_loss": loss, "seconds": seconds}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
