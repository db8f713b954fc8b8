"""Nothing escapes DVC: each stage names the code that shapes its result, and no more."""

import re
from pathlib import Path

import grimp
import pytest
import yaml

from sensibert.config.methods import METHODS, names
from sensibert.config.simple_models import SIMPLE_MODELS

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

SHAPES_NO_RESULT = ("pipeline.stage", "sensibert.config", "sensibert.errors", "sensibert.experiment.provenance")
"""What dvc.yaml names nowhere: messages, parameters (DVC watches their values), and the records of a run."""

METHODS_OF = {
    "${criteria}": ["full"],  # the slim model is tuned in full
    "${tuning}": names("tuning"),
    "${peft}": names("peft"),
    "${pruning}": names("procedure"),
    "${search.tuning}": names("tuning"),
}
"""What a matrix calls its methods -> the methods that its script may load by the registry."""


@pytest.fixture(scope="module")
def imports():
    """The modules of the project and what each imports, within functions too; type checking apart."""
    graph = grimp.build_graph("pipeline", "sensibert", exclude_type_checking_imports=True)
    for module in graph.modules:
        if module.startswith(SHAPES_NO_RESULT) or module in ("sensibert", "pipeline"):
            for imported in graph.find_modules_directly_imported_by(module):
                graph.remove_import(importer=module, imported=imported)
    return graph


def file_of(module):
    path = Path(*module.split("."))
    path = path if path.parts[0] == "pipeline" else "src" / path
    package = path / "__init__.py"
    return package if (ROOT / package).is_file() else path.with_suffix(".py")


def closure(graph, modules):
    """The files of some modules and of all that they import, apart from packages that hold nothing but a docstring."""
    found = set(modules).union(*(graph.find_upstream_modules(module) for module in modules))
    shaping = (module for module in found if not module.startswith(SHAPES_NO_RESULT))
    return {file for file in map(file_of, shaping) if file.name != "__init__.py"}


def covers(dep, file):
    """Whether a file is what dvc.yaml names, or lies in the folder that it names."""
    return file == dep or dep in file.parents


def loaded_by_name(stage, method):
    """The modules that the script loads through the registry."""
    if stage in ("score", "rescore"):
        rows = [METHODS[name] for name in names("criterion")]
    elif stage.startswith(("finetune", "search", "prune")):
        rows = [METHODS[method], *([METHODS["full"]] if stage == "prune" else [])]
    elif stage == "rates":
        rows = [METHODS[name] for name in names("tuning", "peft", "procedure")]
    elif stage == "rank_layers":
        rows = [METHODS["full"]]
    else:
        rows = []
    simple = SIMPLE_MODELS if stage == "fit_simple" else []
    return [f"sensibert.{row.path.partition(':')[0]}" for row in rows] + [f"sensibert.alternatives.{n}" for n in simple]


def cases():
    for stage, content in STAGES.items():
        if content["cmd"].startswith("python -m "):
            for method in METHODS_OF.get(content.get("matrix", {}).get("method"), [None]):
                yield pytest.param(stage, method, id=f"{stage} {method or ''}".strip())


def needed_by(graph, stage, method):
    script = re.match(r"python -m (\S+)", STAGES[stage]["cmd"])[1]
    return closure(graph, [script, *loaded_by_name(stage, method)])


def named_by(stage, method):
    code = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("pipeline/", "src/"))]
    return [Path(dep.replace("${item.method}", str(method))) for dep in code]


@pytest.mark.parametrize(("stage", "method"), cases())
def test_a_stage_names_all_the_code_that_its_script_imports(imports, stage, method):
    needed, named = needed_by(imports, stage, method), named_by(stage, method)
    assert all((ROOT / dep).exists() for dep in named)
    missing = [str(file) for file in sorted(needed) if not any(covers(dep, file) for dep in named)]
    assert not missing, f"{stage} does not name {', '.join(missing)}"


@pytest.mark.parametrize("stage", [stage for stage, content in STAGES.items() if "pipeline" in content["cmd"]])
def test_a_stage_names_no_code_that_its_script_never_imports(imports, stage):
    methods = METHODS_OF.get(STAGES[stage].get("matrix", {}).get("method"), [None])
    needed = {file for method in methods for file in needed_by(imports, stage, method)}
    idle = [str(dep) for dep in named_by(stage, methods[0]) if not any(covers(dep, file) for file in needed)]
    assert not idle, f"{stage} names {', '.join(idle)}, which its script does not import"


def test_every_stage_has_its_script_and_every_script_its_stage():
    found = (re.match(r"python -m pipeline\.(\w+)", content["cmd"]) for content in STAGES.values())
    scripts = {match[1] for match in found if match}
    assert scripts == {path.stem for path in (ROOT / "pipeline").glob("*.py")} - {"__init__", "stage", "warm"}


def test_a_new_tuning_method_makes_no_dense_cell_stale():
    for stage in ("finetune_dense", "finetune_peft", "search"):
        deps = STAGES[stage]["deps"]
        assert "src/sensibert/tuning/methods/${item.method}.py" in deps
        assert not {"src/sensibert/tuning", "src/sensibert/tuning/methods", "src/sensibert/config"} & set(deps)


def test_it_stays_short():
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) < 350
