"""The registry: every row names code that is there and of its kind, and settings that the profiles can give."""

import inspect
from pathlib import Path

import pytest
import yaml

from sensibert.config.method_settings import MethodParams
from sensibert.config.methods import METHODS, names
from sensibert.config.section import Section
from sensibert.scoring.criteria.base import Criterion

PROFILES = sorted((Path(__file__).parents[2] / "profiles").glob("*.yaml"))


def signature(function):
    """The names of the parameters, and the annotations as the source writes them."""
    found = inspect.signature(function)
    return list(found.parameters), [parameter.annotation for parameter in found.parameters.values()]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_row_loads_an_implementation_of_its_kind(method):
    implementation = method.implementation
    if method.kind == "criterion":
        assert issubclass(implementation, Criterion)
        assert not inspect.isabstract(implementation)
        assert (implementation.observe is not Criterion.observe) == method.reads_data
        return
    assert inspect.isfunction(implementation)
    if method.kind == "control":
        return
    expected, result = {
        "procedure": ((["context"], ["PruningContext"]), "Pruned"),
        "tuning": ((["model", "context"], ["PreTrainedModel", "TuningContext"]), "Attached"),
        "peft": ((["model", "context"], ["PreTrainedModel", "TuningContext"]), "Attached"),
    }[method.kind]
    found, annotations = signature(implementation)
    assert (found, [str(getattr(a, "__name__", a)) for a in annotations]) == expected
    returned = inspect.signature(implementation).return_annotation
    assert getattr(returned, "__name__", returned) == result


def test_names_and_titles_are_unique():
    assert all(name == method.name for name, method in METHODS.items())
    titles = [method.title for method in METHODS.values()]
    assert len(set(titles)) == len(titles)
    assert all(title == title.strip() != "" for title in titles)


def test_criteria_and_tuning_methods_have_an_implementation_of_their_own():
    own = [METHODS[name].path for name in names("criterion", "tuning", "peft")]
    assert len(set(own)) == len(own)


def test_what_cuts_by_a_criterion_names_one_that_exists():
    for name, method in METHODS.items():
        if method.kind == "criterion":
            assert method.criterion == name
        elif method.kind == "procedure":
            assert method.criterion in (None, *names("criterion"))
        elif method.kind == "control":
            assert {method.criterion, method.shapes_of} <= {*names("criterion"), None}
            assert method.criterion
            assert (method.shapes_of is None) != (method.allocation is None)
        else:
            assert method.criterion is None


def test_the_kinds_share_out_the_registry_in_its_order():
    kinds = ("criterion", "control", "procedure", "tuning", "peft")
    assert sorted(METHODS) == sorted(name for kind in kinds for name in names(kind))
    assert names(*kinds) == tuple(METHODS)
    assert names("criterion")[:5] == ("sensitivity", "mask", "fisher", "magnitude", "random")
    assert names("peft", "procedure") == tuple(n for n, m in METHODS.items() if m.kind in ("procedure", "peft"))


def test_a_budget_is_of_what_is_kept_or_of_what_trains():
    budgets = {kind: {METHODS[name].budget for name in names(kind)} for kind in ("criterion", "procedure", "tuning")}
    assert budgets == {"criterion": {"kept"}, "procedure": {"kept"}, "tuning": {None}}
    assert {METHODS[name].budget for name in names("peft")} == {"trained"}


def test_all_that_fine_tunes_has_a_learning_rate():
    without = {name for name, method in METHODS.items() if not issubclass(method.settings, MethodParams)}
    assert without == {"kwon"}  # it prunes without retraining


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_the_settings_accept_what_a_profile_says_and_a_profile_says_all_of_them(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))["methods"]
    assert content
    for name, given in content.items():
        settings = METHODS[name].settings.model_validate(given)
        assert isinstance(settings, Section)
        assert settings.model_dump(mode="json") == given


def test_the_profiles_name_known_methods_and_all_of_the_sources():
    named = {name for path in PROFILES for name in yaml.safe_load(path.read_text(encoding="utf-8"))["methods"]}
    assert named <= set(METHODS)
    assert len(named) >= 23


def test_unknown_settings_are_refused():
    for method in METHODS.values():
        given = {"learning_rate": 1e-3} if issubclass(method.settings, MethodParams) else {}
        method.settings.model_validate(given)
        with pytest.raises(ValueError, match="extra_forbidden"):
            method.settings.model_validate({**given, "no_such_setting": 1})
