"""Mutation testing of the core: do the fast tests notice when one operator, number or condition of it is changed?

    python scripts/mutate.py                    # 30 mutants of each module; goes on where an earlier run stopped
    python scripts/mutate.py --again            # once more those that survived, after a test was added
    python scripts/mutate.py --modules model.tracking --show

The mutants are those of Cosmic Ray (`pip install cosmic-ray`); the sites are drawn with a seed, each module its own.
Cosmic Ray itself starts a test run from nothing for each mutant, which for these tests means ten seconds of imports.
Here a process that has imported all libraries forks for every mutant, and the child imports the package with the
mutated module in it. Mutants that change only what doesn't run (annotations) are not drawn.

A mutant is killed if a test fails, the package can't be imported, or the tests take several times the CPU time that
they take without it. The tests are those of the listed files that take at most `MAX_TEST_SECONDS`, quickest first.
"""

import argparse
import ast
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import multiprocessing
import os
import random
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "model.tracking": ["model/test_tracking.py"],
    "model.loss": ["model/test_loss.py"],
    "model.masks": ["model/test_masks.py", "model/test_rle.py"],
    "model.video_segmenter": ["model/test_video_segmenter.py", "model/test_shared_pipeline.py"],
    "model.video_pass": ["model/test_video_segmenter.py"],
    "data.parse": ["data/test_ytvis.py", "data/test_coco.py", "data/test_values.py"],
    "data.tracks": ["data/test_ytvis.py", "data/test_values.py", "evaluation/test_ytvis_map.py"],
    "evaluation.ytvis_map": ["evaluation/test_ytvis_map.py", "evaluation/test_evaluation_extras.py"],
    "evaluation.track_iou": ["evaluation/test_ytvis_map.py"],
    "evaluation.average_precision": ["evaluation/test_ytvis_map.py"],
}
MAX_TEST_SECONDS = 2.0  # of CPU time
MEMORY_LIMIT_BYTES = 16 * 2**30
NEED_ARGUMENTS = {"VariableReplacer", "VariableInserter"}  # operators of Cosmic Ray that want the name of a variable


@dataclass
class Mutant:
    """One change of a module and what came of it.

    Attributes:
        operator: Cosmic Ray's name.
        occurrence: Which of its places in the module.
        line: Of the module, from 1.
        before: That line.
        after: What it becomes.
        killed_by: The test that failed, or "import", "time", "crash"; None: it survived.
        seconds: What the run took.
    """

    operator: str
    occurrence: int
    line: int
    before: str
    after: str
    killed_by: str | None = None
    seconds: float | None = None


@dataclass
class Campaign:
    """The mutants of one module.

    Attributes:
        sha256: Of the module's source; the results of another source don't count.
        tests: Number of tests.
        left_out: Tests that take longer than `MAX_TEST_SECONDS`.
        mutants: In the order drawn.
    """

    sha256: str
    tests: int = 0
    left_out: list[str] = field(default_factory=list)
    mutants: list[Mutant] = field(default_factory=list)


def main() -> None:
    """Draws the mutants, runs the tests on each and writes the results after every one."""
    arguments = read_arguments()
    results = read_results(arguments.output)
    for module in arguments.modules:
        source = path_of(module).read_text(encoding="utf-8")
        sha256 = hashlib.sha256(source.encode()).hexdigest()
        campaign = results.get(module)
        if campaign is None or campaign.sha256 != sha256 or len(campaign.mutants) != arguments.mutants:
            campaign = results[module] = Campaign(sha256, mutants=draw(module, source, arguments))
        if arguments.show:
            print("\n".join(f"{module}:{mutant.line}: {mutant.after.strip()}" for mutant in campaign.mutants))
            continue
        todo = [mutant for mutant in campaign.mutants if wants_run(mutant, arguments.again)]
        if todo:
            run_module(module, source, campaign, todo, lambda: write_results(arguments, results))
    if not arguments.show:
        print_summary(results)


def read_arguments() -> argparse.Namespace:
    """What to mutate and where the results lie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="+", choices=list(TESTS), default=list(TESTS), metavar="MODULE")
    parser.add_argument("--mutants", type=int, default=30, help="of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="run also those that survived")
    parser.add_argument("--show", action="store_true", help="print the mutants and run none")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "mutation.json")
    return parser.parse_args()


def wants_run(mutant: Mutant, again: bool) -> bool:
    """Whether a mutant is still to be run."""
    return mutant.seconds is None or (again and mutant.killed_by is None)


def path_of(module: str) -> Path:
    """The file of a module of the package."""
    return ROOT / "src" / "ifc_hf" / (module.replace(".", "/") + ".py")


def draw(module: str, source: str, arguments: argparse.Namespace) -> list[Mutant]:
    """As many mutants as asked for, at as many different places as there are."""
    chosen = random.Random(f"{arguments.seed} {module}")
    sites = list(places(source).values())
    for site in sites:
        chosen.shuffle(site)
    chosen.shuffle(sites)
    mutants: list[Mutant] = []
    original = what_runs(source)
    for operator, occurrence in one_of_each_in_turn(sites):
        mutated = mutate(source, operator, occurrence)
        if mutated is not None and what_runs(mutated) not in (None, original):
            mutants.append(describe(source, mutated, operator, occurrence))
        if len(mutants) == arguments.mutants:
            break
    return mutants


def one_of_each_in_turn(lists: list[list[Any]]) -> Iterator[Any]:
    """The first item of every list, then the second, and so on."""
    for round_number in range(max(map(len, lists), default=0)):
        yield from (items[round_number] for items in lists if round_number < len(items))


def places(source: str) -> dict[Any, list[tuple[str, int]]]:
    """Operators with their occurrences, by the place in the source that they change."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    nodes = list(ast_nodes(get_ast(source)))
    found = defaultdict(list)
    for name in operator_names():
        if name.split("/")[1] in NEED_ARGUMENTS:
            continue
        operator = get_operator(name)()
        positions = [position for node in nodes for position in operator.mutation_positions(node)]
        for occurrence, position in enumerate(positions):
            found[position].append((name, occurrence))
    return found


def mutate(source: str, operator: str, occurrence: int) -> str | None:
    """The source with one change."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    return mutate_code(source, get_operator(operator)(), occurrence)


def what_runs(source: str) -> str | None:
    """The syntax tree without annotations, as text; None if it is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def describe(source: str, mutated: str, operator: str, occurrence: int) -> Mutant:
    """The mutant, with the first line that differs."""
    lines, mutated_lines = source.splitlines(), mutated.splitlines()
    pairs = enumerate(zip(lines, mutated_lines, strict=False), start=1)
    number, (before, after) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    return Mutant(operator, occurrence, number, before, after)


def run_module(module: str, source: str, campaign: Campaign, todo: list[Mutant], save: Any) -> None:
    """Runs the tests of a module on its mutants, one after the other."""
    baseline = in_child(run_tests, module, None, None, seconds=1800)
    if baseline is None or baseline["killed_by"]:
        raise SystemExit(f"The tests of {module} fail without a mutant: {baseline}")
    costs = baseline["costs"]
    chosen = sorted((test for test in costs if costs[test] <= MAX_TEST_SECONDS), key=costs.__getitem__)
    campaign.tests, campaign.left_out = len(chosen), sorted(set(costs) - set(chosen))
    for name in baseline["libraries"]:  # what the children then share
        with suppress(Exception):
            importlib.import_module(name)
    limit = 20 + 4 * sum(costs[test] for test in chosen)
    for mutant in todo:
        start = time.perf_counter()
        mutated = mutate(source, mutant.operator, mutant.occurrence)
        result = in_child(run_tests, module, mutated, chosen, seconds=limit)
        mutant.killed_by = "crash or time" if result is None else result["killed_by"]
        mutant.seconds = round(time.perf_counter() - start, 1)
        save()
        verdict = mutant.killed_by or "SURVIVED"
        print(f"{module}:{mutant.line}: {mutant.after.strip()}  -> {verdict} ({mutant.seconds} s)", flush=True)


def in_child(function: Any, *arguments: Any, seconds: float) -> Any:
    """Result of a function in a forked process; None if it died or took more CPU time, or ten times that in all."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
        function(*arguments, sender)

    child = context.Process(target=run)
    child.start()
    sender.close()
    result = None
    with suppress(EOFError):
        if receiver.poll(10 * seconds):
            result = receiver.recv()
    child.kill()  # what it began to end is of no interest
    child.join()
    return result


def run_tests(module: str, mutated: str | None, chosen: list[str] | None, sender: Connection) -> None:
    """Imports the package with the mutated module and runs its tests; sends what happened."""
    import pytest

    os.chdir(ROOT)
    if mutated is not None:
        sys.meta_path.insert(0, MutatedModule(f"ifc_hf.{module}", path_of(module), mutated))
    plugin = Plugin(chosen)
    files = [str(ROOT / "tests" / name) for name in TESTS[module]]
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(output):
        code = pytest.main([*options, *files], plugins=[plugin])
    killed_by = plugin.failed or (None if code == pytest.ExitCode.OK else "import")
    # What the libraries imported, for the process that forks.
    libraries = [name for name, found in sys.modules.items() if is_library(found)]
    sender.send({"killed_by": killed_by, "costs": plugin.costs, "libraries": libraries})


def is_library(module: Any) -> bool:
    """Whether a module is installed, and neither ours nor a test."""
    path = getattr(module, "__file__", None)
    return path is not None and not any(Path(path).is_relative_to(ROOT / name) for name in ("src", "tests", "scripts"))


class MutatedModule(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Loads one module from another text than that of its file."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        importlib.machinery.SourceFileLoader.__init__(self, name, str(path))
        self.source = source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """The module, if it is this one."""
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> Any:
        """Compiles the mutated source; no cached one counts."""
        return compile(self.source, self.path, "exec")


class Plugin:
    """Orders the tests, and notes what they cost and which one fails first."""

    def __init__(self, chosen: list[str] | None) -> None:
        self.chosen = chosen
        self.failed: str | None = None
        self.costs: dict[str, float] = defaultdict(float)
        self._start = 0.0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leaves the chosen tests, in their order."""
        if self.chosen is not None:
            place = {test: position for position, test in enumerate(self.chosen)}
            items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begins to count."""
        self._start = cpu_seconds()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Notes the CPU time of a test, its processes included."""
        self.costs[nodeid] = round(cpu_seconds() - self._start, 3)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Notes the first failure."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def cpu_seconds() -> float:
    """CPU time of this process and of those that it waited for."""
    return sum(os.times()[:4])


def read_results(path: Path) -> dict[str, Campaign]:
    """Results of an earlier run."""
    if not path.exists():
        return {}
    modules = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return {
        name: Campaign(**{**entry, "mutants": [Mutant(**mutant) for mutant in entry["mutants"]]})
        for name, entry in modules.items()
    }


def write_results(arguments: argparse.Namespace, results: dict[str, Campaign]) -> None:
    """Writes all results so far; in a child, because the process that forks must not import the package."""
    modules = {name: asdict(campaign) for name, campaign in results.items()}
    content = {"seed": arguments.seed, **count(results.values()), "modules": modules}
    in_child(write_content, arguments.output, content, seconds=60)


def write_content(path: Path, content: Any, sender: Connection) -> None:
    """Writes a file as a whole."""
    from ifc_hf.files import write_json

    write_json(path, content, indent=2)
    sender.send(True)


def count(campaigns: Iterable[Campaign]) -> dict[str, int]:
    """Mutants that were run and that were killed."""
    run = [mutant for campaign in campaigns for mutant in campaign.mutants if mutant.seconds is not None]
    return {"run": len(run), "killed": sum(mutant.killed_by is not None for mutant in run)}


def print_summary(results: dict[str, Campaign]) -> None:
    """Survivors, and the share that was killed."""
    for module, campaign in results.items():
        for mutant in campaign.mutants:
            if mutant.seconds is not None and mutant.killed_by is None:
                print(f"survivor: {module}:{mutant.line}: {mutant.before.strip()}  ->  {mutant.after.strip()}")
        print(module, count([campaign]))
    print("all", count(results.values()))


if __name__ == "__main__":
    main()
