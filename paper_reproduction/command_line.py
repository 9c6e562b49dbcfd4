"""The command line: show a task; plan and run a study, compare its results with laws, draw them.

A STUDY is a JSON file (``Study.to_json`` writes one; every reproduction leaves its own) or ``package.module:name``,
where name is a Study or a function without arguments that returns one. A TASK is one of these, or the name of a class
of simulator.tasks, which stands for a modest instance.
"""

import argparse
import importlib
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_args

import xarray as xr

import figures
from paper_reproduction.reproduction import exit_status
from paper_reproduction.study_report import draw
from simulator import Study, load_results, plan, run, run_on_slurm, run_until, save_results
from simulator.machine.platform import Platform, check_platform
from simulator.machine.workers import best_workers
from simulator.specification import SpecificationError, from_json
from simulator.studies.run import Keep
from simulator.tasks import EXAMPLES as EXAMPLE_TASKS
from simulator.tasks import Task
from simulator.tasks.worked_example import truth_of_task, worked_example
from theory import (
    Pilot,
    Prediction,
    compare,
    comparison_as_text,
    design,
    fit_chinchilla,
    predict,
    read_loss_table,
    read_runs,
    score,
    score_as_text,
)
from theory.laws import EXAMPLES, Law
from theory.measured.design import COSTS, GOALS
from theory.measured.weighted_fit import TOLERANCE

_LAWS: dict[str, type[Law]] = {law.name.replace(", ", "-").replace(" ", "-"): type(law) for law in EXAMPLES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``context-scaling``."""
    options = parser().parse_args(arguments)
    return exit_status(lambda: options.command(options))


def parser() -> argparse.ArgumentParser:
    """The commands of ``context-scaling`` and their options."""
    parser = argparse.ArgumentParser(
        prog="context-scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__.strip("_"), help=summary, description=summary)
        sub.set_defaults(command=function)
        return sub

    planning = command(_plan, "what is to do, and about how long it takes; trains nothing")
    running = command(_run, "make every run not made yet, and write the table of results")
    for sub in (planning, running):
        sub.add_argument("study", metavar="STUDY", help="JSON file, or package.module:name")
        sub.add_argument("--store", type=pathlib.Path, default=pathlib.Path("runs"), help="folder of runs (runs)")
    running.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results.nc"), help="table (results.nc)")
    running.add_argument("--workers", type=int, help="processes, one core each (all cores; with --slurm 1 per shard)")
    running.add_argument("--platform", choices=get_args(Platform), help="insist on it (what JAX finds)")
    running.add_argument("--keep", choices=get_args(Keep), help="keep trained networks in the store, too")
    running.add_argument(
        "--most-runs", type=int, metavar="N", help="add context lengths and seeds where l* is uncertain, up to N runs"
    )
    running.add_argument("--slurm", action="store_true", help="make the runs as jobs on Slurm, and wait for them")
    on_slurm = running.add_argument_group("with --slurm")
    on_slurm.add_argument("--shards", type=int, help="elements of the job array (16)")
    on_slurm.add_argument("--minutes", type=int, help="time limit of each (240)")
    on_slurm.add_argument("--sbatch", nargs="+", metavar="KEY[=VALUE]", help="as in partition=long exclusive")

    showing = command(_task, "print a sequence and what each context length sees of it; draw R(l), dim(l), S(P_l)")
    showing.add_argument("task", metavar="TASK", help="a class name, JSON file, or package.module:name")
    showing.add_argument("--seed", type=int, default=0, help="which sequences are drawn (0)")
    showing.add_argument("--out", type=pathlib.Path, default=pathlib.Path("figures_out"), help="folder (figures_out)")

    comparing = command(_compare, "fit laws on the small dataset sizes, test them and score them on the large ones")
    drawing = command(_figure, "draw loss against context length, and l* against dataset size")
    predicting = command(_predict, "write down beforehand what laws predict for dataset sizes beyond the table")
    scoring = command(_score, "how such a prediction turned out, by a table measured afterwards")
    scoring.add_argument("prediction", type=pathlib.Path, metavar="PREDICTION", help="a file that predict wrote")
    designing = command(_design, "which grid, and how many seeds, would tell laws apart; simulates, and trains nothing")
    for sub in (comparing, drawing, predicting, scoring, designing):
        sub.add_argument(
            "results", type=pathlib.Path, metavar="RESULTS", help="a table that run wrote, or a CSV of losses"
        )
        sub.add_argument("--unit", default="nats", help="unit of a CSV: nats, bits, perplexity or another (nats)")
        sub.add_argument(
            "--bayes-risk", type=pathlib.Path, help="CSV with context_length, bayes_risk (column or fitted)"
        )
    for sub in (comparing, drawing, predicting):
        sub.add_argument(
            "--laws",
            nargs="+",
            metavar="NAME[:CONSTANT=VALUE,...]",
            help="as in power table:classes=4; default: every law that needs no given constant",
        )
    designing.add_argument("--laws", nargs="+", metavar="NAME[:CONSTANT=VALUE,...]", required=True, help="two or more")
    designing.add_argument("--probability", type=float, default=0.9, help="under each law (0.9)")
    designing.add_argument("--goal", choices=GOALS, default="told apart", help="(told apart)")
    designing.add_argument("--budget", type=int, help="largest cost (no limit)")
    designing.add_argument("--cost", choices=COSTS, default="runs", help="what counts (runs)")
    designing.add_argument("--out", type=pathlib.Path, help="also write every simulated design as CSV")
    for sub in (comparing, drawing):
        sub.add_argument("--fit-fraction", type=float, default=0.5, help="share of the dataset sizes to fit on (0.5)")
        sub.add_argument("--leave-out-limited", action="store_true", help="without cells that optimisation limits")
    comparing.add_argument("--tolerance", type=float, default=TOLERANCE, help=f"misfit that is nothing ({TOLERANCE})")
    predicting.add_argument("--at", type=int, nargs="+", required=True, metavar="D", help="dataset sizes to predict")
    predicting.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("prediction.json"), help="(prediction.json)"
    )
    comparing.add_argument("--out", type=pathlib.Path, help="also write the comparison as CSV")
    drawing.add_argument("--out", type=pathlib.Path, default=pathlib.Path("figures_out"), help="folder (figures_out)")

    fitting = command(_chinchilla, "fit L = E + A/N^alpha + B/D^beta to losses over model and dataset sizes")
    fitting.add_argument("runs", metavar="RUNS", help="CSV with model_size, dataset_size or compute, and loss")
    fitting.add_argument("--unit", default="nats", help="unit of the losses: nats, bits, perplexity or another (nats)")
    fitting.add_argument(
        "--leave-out-highest", type=int, default=0, metavar="K", help="leave out the K runs of the highest loss (0)"
    )
    return parser


def _task(options: argparse.Namespace) -> None:
    task = read_task(options.task)
    print(worked_example(task, options.seed), end="\n\n")
    drawn = figures.draw_gallery([truth_of_task(task, options.seed)])
    print(*figures.save(*drawn, options.out / f"task_{type(task).__name__}"), sep="\n")


def _plan(options: argparse.Namespace) -> None:
    print(plan(read_study(options.study), options.store))


def _run(options: argparse.Namespace) -> None:
    if options.out.is_dir():
        raise IsADirectoryError(f"--out {options.out} is a folder: name a file, as in {options.out / 'results.nc'}")
    study = read_study(options.study)
    common = {"platform": options.platform, "keep": options.keep}
    if options.slurm and options.most_runs is not None:
        raise ValueError("--most-runs decides what to run next in this process: leave --slurm out")
    if options.slurm:
        results = run_on_slurm(study, options.store, **common, **_slurm_settings(options))
    elif options.shards or options.minutes or options.sbatch:
        raise ValueError("--shards, --minutes and --sbatch are for jobs on Slurm: give --slurm, too")
    else:
        check_platform(options.platform)
        workers = best_workers() if options.workers is None else options.workers
        if options.most_runs is not None:
            results = run_until(study, options.store, most_runs=options.most_runs, workers=workers, **common)
        else:
            results = run(study, options.store, workers=workers, **common)
    save_results(results, options.out)
    made = int((results["run"] != "").sum())
    print(f"{made} runs, {int(results['diverged'].sum())} diverged; written: {options.out}")
    if results["limited_by_optimisation"].any():
        reasons = results["optimisation_limit"].values.ravel().tolist()
        print(
            f"{int(results['limited_by_optimisation'].sum())} of {made} runs seem limited by "
            f"optimisation: {reasons.count('still improving')} were still improving at the last step, "
            f"{reasons.count('plateau')} ended on a plateau. Give more steps, more patience or restarts"
        )


def _slurm_settings(options: argparse.Namespace) -> dict[str, Any]:
    words = [word.partition("=") for word in options.sbatch or ()]
    given = {
        "shards": options.shards,
        "timeout_minutes": options.minutes,
        "cores_per_shard": options.workers,
        "options": {key: value if equals else True for key, equals, value in words},
    }
    return {name: value for name, value in given.items() if value is not None}


def _results(options: argparse.Namespace) -> xr.Dataset:
    """The table of a file, NetCDF or CSV."""
    if options.results.suffix.lower() in (".csv", ".tsv", ".txt"):
        return read_loss_table(options.results, unit=options.unit, bayes_risk=options.bayes_risk)
    if options.bayes_risk or options.unit != "nats":
        raise ValueError("--unit and --bayes-risk are for CSV files: a table that run wrote has both")
    return load_results(options.results)


def _chosen(options: argparse.Namespace, results: xr.Dataset) -> list[Law]:
    """The laws asked for, or every one that needs no given constant."""
    in_nats = results.attrs.get("unit") == "nats"
    default = [name for name, law in _LAWS.items() if not law().given and (in_nats or not law.in_nats)]
    return [read_law(text) for text in options.laws or default]


def _predict(options: argparse.Namespace) -> None:
    results = _results(options)
    prediction = predict(results, _chosen(options, results), options.at)
    prediction.save(options.out)
    print(f"{'D':>12}  l* by law")
    for i, D in enumerate(prediction.dataset_sizes):
        said = (f"{name}: {of['optimal_context_length'][i]:.0f}" for name, of in prediction.laws.items())
        print(f"{D:>12}  {', '.join(said)}")
    print(f"\nwritten: {options.out}, for the table {prediction.table[:12]}")


def _score(options: argparse.Namespace) -> None:
    print(score_as_text(score(Prediction.load(options.prediction), _results(options))))


def _design(options: argparse.Namespace) -> None:
    pilot = Pilot.measured(_results(options), [read_law(text) for text in options.laws])
    advice = design(pilot, probability=options.probability, goal=options.goal, budget=options.budget, cost=options.cost)
    print(advice)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        advice.tried.to_dataframe().to_csv(options.out)
        print(f"\nwritten: {options.out}")


def _left_out() -> str:
    """The laws that are not fitted by default, and how to ask for them."""
    needed = {name: law().given for name, law in _LAWS.items() if law().given}
    lines = [f"  {name}: {', '.join(given)}" for name, given in needed.items()]
    example = "--laws power table:classes=4"
    return "\n".join(["left out, since they need constants of your data:", *lines, f"ask for them as in {example}"])


def read_law(text: str) -> Law:
    """The law that ``name`` or ``name:constant=value,constant=value`` stands for.

    Raises:
        ValueError: there is no such law, a given constant is missing, or a constant is not one that can be set.
    """
    name, _, settings = text.partition(":")
    if name not in _LAWS:
        raise ValueError(f"there is no law {name!r}; there are {', '.join(_LAWS)}")
    law = _LAWS[name]
    needed = law().given
    known = (*needed, *law.universal)
    constants: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        constant, equals, value = setting.partition("=")
        if constant not in known:
            possible = f"it has {', '.join(known)}" if known else "it has none: all its constants are fitted"
            raise ValueError(f"the law {name!r} has no constant {constant!r} to give; {possible}")
        if not equals or not value:
            raise ValueError(f"{setting!r} gives no value; write {constant}=VALUE, as in --laws {name}:{constant}=4")
        constants[constant] = _number_or_word(value)
    missing = [constant for constant in needed if constant not in constants]
    if missing:
        wanted = ",".join(f"{constant}=VALUE" for constant in needed)
        raise ValueError(f"the law {name!r} needs {', '.join(missing)}: give --laws {name}:{wanted}")
    try:
        return law(**constants)
    except (ValueError, TypeError) as error:
        raise ValueError(f"--laws {text}: {error}") from error


def _number_or_word(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _compare(options: argparse.Namespace) -> None:
    results = _results(options)
    laws = _chosen(options, results)
    how = {"fit_fraction": options.fit_fraction, "leave_out_limited": options.leave_out_limited}
    comparison = compare(results, laws, tolerance=options.tolerance, **how)
    print(comparison_as_text(comparison, f"({results.attrs.get('unit', '')})"))
    for name in ("columns", "bayes_risk", "approximation_loss", "intrinsic_dimension"):
        if name in results.attrs:
            print(f"{name}: {results.attrs[name]}")
    if not options.laws:
        print(_left_out())
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        comparison.to_dataframe().to_csv(options.out)
        print(f"\nwritten: {options.out}")


def _figure(options: argparse.Namespace) -> None:
    results = _results(options)
    how = {"fit_fraction": options.fit_fraction, "leave_out_limited": options.leave_out_limited}
    comparison = compare(results, _chosen(options, results), **how)
    for name, (figure, numbers) in draw(results, comparison).items():
        print(*figures.save(figure, numbers, options.out / name), sep="\n")
    if not options.laws:
        print(_left_out(), file=sys.stderr)


def _chinchilla(options: argparse.Namespace) -> None:
    runs = read_runs(options.runs, unit=options.unit, leave_out_highest=options.leave_out_highest)
    print(fit_chinchilla(*(runs[name].values for name in ("model_size", "dataset_size", "loss"))))
    for label, name in (("unit", "unit"), ("columns", "columns"), ("runs left out", "left_out")):
        if runs.attrs[name]:
            print(f"{label}: {runs.attrs[name]}")


def read_task(name: str) -> Task:
    """The task that a class name of simulator.tasks, a JSON file or ``package.module:name`` stands for.

    Raises:
        SpecificationError: none of these, or not a task.
    """
    examples = {type(task).__name__: task for task in reversed(EXAMPLE_TASKS)}
    if name in examples:
        return examples[name]
    try:
        task = _read(name, from_json)
    except SpecificationError as error:
        raise SpecificationError(f"{error}; nor a task's name: there are {', '.join(sorted(examples))}") from error
    if not isinstance(task, Task):
        raise SpecificationError(f"{name} is a {type(task).__name__}, not a task")
    return task


def read_study(name: str) -> Study:
    """The study that a JSON file or ``package.module:name`` stands for.

    Raises:
        SpecificationError: neither, or not a study.
    """
    study = _read(name, Study.from_json)
    if not isinstance(study, Study):
        raise SpecificationError(f"{name} is a {type(study).__name__}, not a Study")
    return study


def _read(name: str, parse: Callable[[str], Any]) -> Any:
    """What a JSON file holds, or what ``package.module:name`` is or returns."""
    path = pathlib.Path(name)
    if path.suffix == ".json" or path.is_file():
        if not path.is_file():
            raise SpecificationError(f"there is no file {name}")
        try:
            return parse(path.read_text())
        except (ValueError, UnicodeDecodeError) as error:
            raise SpecificationError(f"{name}: {error}") from error
    module, colon, attribute = name.partition(":")
    if not colon:
        raise SpecificationError(f"{name!r} is neither a JSON file nor package.module:name")
    sys.path.insert(0, str(pathlib.Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecificationError(f"cannot load {name!r}: {error}") from error
    return found() if callable(found) else found


if __name__ == "__main__":
    sys.exit(main())
