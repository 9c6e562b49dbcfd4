"""Position rules of a Transformer that is trained on short contexts and tested on long ones.

A short training on long contexts follows, with the rule in place: short-then-long, as in arXiv 2407.21783 and
2412.19437, at small scale.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

from paper_reproduction.kept_parts import ENDLESS, kept_parts, part_spec
from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator.inference import visible_context_sweep
from simulator.learners import GradientDescent, NetworkPredictor, RandomContext, ShortContext, Stage
from simulator.models import (
    ALiBi,
    DynamicNTK,
    LearnedPositions,
    Llama3Scaling,
    NoPositions,
    NTKAware,
    PositionInterpolation,
    Positions,
    RoPE,
    Transformer,
    YaRN,
)
from simulator.tasks import Retrieval

STRETCH = 8
"""Long length over short."""
WHEN = ("trained on the short context", "then trained shortly on long ones")


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes at a scale, the share of whole contexts in the long training, and the rules to show (empty: all).

    With ``whole`` = 1 the long training shows whole contexts alone, in which the needle is always visible. The network
    then loses on short contexts what it gains on long ones.
    """

    short: int
    steps: int
    long_steps: int
    batch_size: int
    seeds: int
    test_size: int
    width: int
    whole: float = 0.5
    rules: tuple[str, ...] = ()

    @property
    def long(self) -> int:
        """L."""
        return STRETCH * self.short


SETTINGS: dict[Scale, Setting] = {
    "smoke": Setting(short=1, steps=10, long_steps=5, batch_size=16, seeds=1, test_size=128, width=8, rules=("YaRN",)),
    "laptop": Setting(short=32, steps=900, long_steps=100, batch_size=64, seeds=2, test_size=1024, width=32),
    "paper": Setting(short=512, steps=20_000, long_steps=2_000, batch_size=64, seeds=4, test_size=8192, width=128),
}


def rules(setting: Setting) -> dict[str, tuple[Positions, Positions]]:
    """The rule of the short training and the rule of the long test and training, by name."""
    # A context of l tokens has l + 1 positions: the last is the start, or the question.
    trained = setting.short + 1
    rope, learned = RoPE(), LearnedPositions(max_length=setting.long + 1)
    chosen = {
        "RoPE": (rope, rope),
        "position interpolation": (rope, PositionInterpolation(scale=STRETCH)),
        "NTK-aware": (rope, NTKAware(scale=STRETCH)),
        "dynamic NTK": (rope, DynamicNTK(trained_length=trained)),
        "YaRN": (rope, YaRN(scale=STRETCH, trained_length=trained)),
        "Llama 3": (rope, Llama3Scaling(scale=STRETCH, trained_length=trained)),
        "p-RoPE, p = 1/2": (RoPE(fraction=0.5), RoPE(fraction=0.5)),
        "ALiBi": (ALiBi(), ALiBi()),
        "none": (NoPositions(), NoPositions()),
        "learned": (learned, learned),
    }
    return {name: chosen[name] for name in setting.rules or chosen}


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Approximation loss over visible context lengths, of each rule, before and after."""
    setting = SETTINGS[scale]
    names, seeds = list(rules(setting)), range(setting.seeds)
    parts: dict[str, Callable[[], xr.Dataset]] = {}
    for name in names:
        for seed in seeds:
            short, long = rules(setting)[name]
            spec = part_spec(setting, short, long, seed)
            parts[spec] = functools.partial(_of_rule, setting, short, long, seed)
    made = iter(kept_parts(folder, parts, "rules, by seed", workers))
    losses = xr.concat([xr.concat([next(made)["loss"] for _ in seeds], "seed") for _ in names], "positions")
    table = mean_and_interval(losses.assign_coords(positions=names))
    labels = {"value": "approximation loss (nats)", "context_length": "visible context $l$ (tokens)"}
    table = labelled(table, {**labels, "positions": "positions"})
    return Result({"loss_against_visible_context": table.transpose("when", "positions", "context_length")})


def _of_rule(setting: Setting, short: Positions, long: Positions, seed: int) -> xr.Dataset:
    """The losses of one network, trained on short contexts and tested with the rule for long ones; then trained on."""
    task = Retrieval(n_needles=1, n_answers=4, max_context_length=setting.long)
    model = Transformer(depth=2, width=setting.width, heads=2, positions=short)
    total = setting.steps + setting.long_steps

    def learner(steps: int, curriculum: Sequence[Stage]) -> GradientDescent:
        return GradientDescent(
            model,
            steps=steps,
            batch_size=setting.batch_size,
            learning_rate=5e-3,
            warmup=0.05 * setting.steps / steps,  # the same steps, however many follow
            evaluation_every=steps,
            validation_size=256,
            curriculum=curriculum,
        )

    first = ShortContext(share=setting.steps / total, context_length=setting.short)
    then = RandomContext(share=setting.long_steps / total, positions=long, whole=setting.whole)
    before = learner(setting.steps, (Stage(),)).fit(task, setting.short, ENDLESS, seed)
    after = learner(total, (first, then)).fit(task, setting.long, ENDLESS, seed)
    assert isinstance(before, NetworkPredictor)
    stretched = dataclasses.replace(before, model=dataclasses.replace(model, positions=long))
    lengths = [setting.long // 2**i for i in range(6, -1, -1) if setting.long >= 2**i]

    def losses(predictor: Any) -> xr.DataArray:
        return visible_context_sweep(predictor, lengths, seed, setting.test_size)["approximation_loss"]

    return xr.concat([losses(stretched), losses(after)], "when").assign_coords(when=list(WHEN)).to_dataset(name="loss")


REPRODUCTION = Reproduction(
    "A needle in a context longer than those trained on",
    claim="A short training on long contexts extends a model trained on short ones.",
    source="arXiv 2407.21783 and 2412.19437",
    make=make,
)
