import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sensibert.config.grid import Cell
from sensibert.config.methods import METHODS
from sensibert.config.params import Methods, load_params, parse_params
from sensibert.config.settings import TrainingParams
from sensibert.errors import ParamsError

CONTENT = {
    "profile": "small",
    "tasks": ["sst2", "mrpc"],
    "seeds": [0, 1],
    "criteria": ["sensitivity", "magnitude"],
    "budgets": [0.4, 0.2],
    "tuning": ["full"],
    "data": {"source": "local", "directory": "glue"},
    "model": {"backbone": "minilm-l6"},
    "masking": {"rank_by": {"magnitude": "score_per_parameter"}},
    "methods": {name: {"learning_rate": 2e-4} for name in ("full", "sensitivity", "magnitude")},
    "stability": {"tasks": ["sst2"], "seeds": [0, 1], "epochs": [1]},
}


def changed(key: str, value: object) -> dict:
    """The good parameters with one (dotted) key set to another value."""
    content = copy.deepcopy(CONTENT)
    *parents, last = key.split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return content


def message_for(content: dict) -> str:
    with pytest.raises(ParamsError) as caught:
        parse_params(content, name="params.yaml")
    return str(caught.value)


def test_good_parameters_are_accepted_and_defaults_filled_in():
    params = parse_params(CONTENT)
    assert params.data.dev_fraction == 0.1
    assert params.data.max_train is None
    assert params.training.epochs == 3
    assert params.masking.options("magnitude")["rank_by"] == "score_per_parameter"
    assert params.masking.options("sensitivity")["rank_by"] == "score"
    assert params.masking.options("sensitivity")["round_to"] == params.masking.round_to
    assert params.masking.budget_kind == "params"


def test_the_repository_s_own_parameters_are_good():
    root = Path(__file__).parents[2]
    files = [root / "params.yaml", *(root / "profiles").glob("*.yaml")]
    names = [load_params(path).profile for path in files]
    assert names[1:] == [path.stem for path in files[1:]]


def test_the_cells_are_the_whole_grid_once():
    cells = parse_params(CONTENT).cells()
    assert len(cells) == len(set(cells)) == 2 * (1 * 2 + 2 * 2 * 2)
    assert cells[0] == Cell("sst2", "full", 1.0, 0)
    assert cells[2] == Cell("sst2", "sensitivity", 0.4, 0)
    assert [cell.name for cell in cells[:3]] == ["sst2-full-0", "sst2-full-1", "sst2-sensitivity-0.4-0"]
    assert len({cell.name for cell in cells}) == len(cells)


def test_rounds_of_pruning_have_no_fraction_that_is_always_kept():
    content = changed("masking.min_keep_fraction", 0.1) | {"pruning": ["iterative_magnitude"]}
    content["methods"] = content["methods"] | {"iterative_magnitude": {"learning_rate": 1e-3}}
    assert "masking.min_keep_fraction: iterative_magnitude prunes what earlier rounds left" in message_for(content)


def test_a_ranking_of_layers_follows_a_fine_tuning_whose_rate_is_known():
    content = changed("layer_ranking", {"tasks": ["sst2"], "seeds": [0]})
    content["methods"] = content["methods"] | {"full": {"learning_rate": "searched"}}
    content["rates"] = {"seeds": [0]}
    assert "layer_ranking: follows the fine-tuning of methods.full, whose learning_rate" in message_for(content)


def test_every_method_has_its_settings():
    assert list(Methods.model_fields) == list(METHODS)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("budget", 0.4, "budget: unknown key; allowed: profile, tasks, seeds, criteria, budgets, pruning, tuning"),
        ("data.split", "x", "data.split: unknown key; allowed: source, directory, watch, revision, max_train"),
        ("stability.budgets", [], "stability.budgets: unknown key; allowed: tasks, seeds, epochs, criteria"),
        ("budgets", [0.4, 0.0], "budgets.1: a budget is the fraction that is kept: above 0.0, at most 1.0 (found 0.0)"),
        ("budgets", [1.5], "budgets.0: a budget is the fraction that is kept: above 0.0, at most 1.0 (found 1.5)"),
        ("budgets", [-0.1], "budgets.0: a budget is the fraction that is kept: above 0.0, at most 1.0 (found -0.1)"),
        ("budgets", [1], "budgets.0: write it with a decimal point: 1.0 (found 1)"),
        ("budgets", [float("nan")], "budgets.0: Input should be a finite number (found nan)"),
        ("budgets", ["half"], "budgets.0: Input should be a valid number"),
        ("budgets", 0.4, "budgets: Input should be a valid list (found 0.4)"),
        ("budgets", [], "budgets: Value should have at least 1 item"),
        ("budgets", [0.4, 0.2, 0.4], "budgets: [0.4] stands in the list more than once"),
        ("seeds", [1, 1], "seeds: [1] stands in the list more than once"),
        ("tasks", ["mrpc", "mrpc"], "tasks: ['mrpc'] stands in the list more than once"),
        ("stability.seeds", [0, 0], "stability.seeds: [0] stands in the list more than once"),
        ("seeds", [-1], "seeds.0: Input should be greater than or equal to 0 (found -1)"),
        ("seeds", [True], "seeds.0: Input should be a valid integer (found True)"),
        ("criteria", ["snip"], "criteria.0: unknown criterion 'snip'; allowed: sensitivity, mask, fisher, magnitude"),
        ("tasks", ["sst"], "tasks.0: unknown task 'sst'; allowed: cola, sst2, mrpc"),
        ("tasks", ["docs_match"], "tasks: docs_match does not come from data.source: local, which has cola, sst2"),
        ("tuning", ["adapter"], "tuning.0: unknown tuning method 'adapter'; allowed: full, head_only, bitfit"),
        ("pruning", ["snip"], "pruning.0: unknown pruning procedure 'snip'; allowed: longer_magnitude, warm_magnitude"),
        ("peft", ["full"], "peft.0: unknown method with a budget of trained parameters 'full'; allowed: lora, adapter"),
        ("peft_budgets", [0.01], "peft and peft_budgets go together: name both, or leave both empty"),
        ("data.source", "pydocs", "tasks: sst2, mrpc does not come from data.source: pydocs, which has docs_origin"),
        ("transfer", {"tasks": ["cola"]}, "transfer.tasks: cola is not in tasks (sst2, mrpc)"),
        ("transfer", {"tasks": ["sst2"], "to": ["mnli"]}, "transfer.to: mnli has not the same classes as sst2"),
        ("layer_ranking", {"tasks": ["cola"]}, "layer_ranking.tasks: cola is not in tasks (sst2, mrpc)"),
        ("search", {"tasks": ["cola"]}, "search.tasks: cola is not in tasks (sst2, mrpc)"),
        ("search", {"tuning": ["bitfit"]}, "search.tuning: methods has no entry for bitfit"),
        ("search", {"sampler": "tpe"}, "search: `trials` says how many sampler: tpe draws"),
        ("search", {"sampler": "tpe", "trials": 21}, "search: trials: 21 is more than the 20 combinations there are"),
        ("pruning", ["kwon"], "methods has no entry for kwon"),
        ("masking.rank_by.snip", "score", "masking.rank_by.snip: unknown criterion 'snip'; allowed: sensitivity"),
        ("masking.rank_by.mask", "best", "masking.rank_by.mask: Input should be 'score' or 'score_per_parameter'"),
        ("masking.allocation", "even", "masking.allocation: Input should be 'global', 'per_group' or 'per_layer'"),
        ("masking.budget_kind", "latency", "masking.budget_kind: a latency is measured, and differs between machines"),
        ("masking.budget_kind", "watts", "masking.budget_kind: Input should be 'params', 'macs' or 'size'"),
        ("masking.round_to", 0, "masking.round_to: Input should be greater than 0 (found 0)"),
        ("masking.floor", 0.1, "masking.floor: unknown key; allowed: allocation, rank_by, min_keep_fraction"),
        ("data.source", "web", "data.source: Input should be 'hub', 'local' or 'pydocs' (found 'web')"),
        ("data.directory", None, "data: source: local needs `directory`, the folder that holds <task>/<split>.parquet"),
        ("data.max_train", 0, "data.max_train: Input should be greater than 0 (found 0)"),
        ("data.dev_fraction", 0.5, "data.dev_fraction: Input should be less than 0.5 (found 0.5)"),
        ("data", None, "data: must be a mapping of keys to values (found None)"),
        ("model", {}, "model.backbone: this key is required"),
        ("profile", "My Profile", "profile: String should match pattern"),
        ("methods", {"full": {"learning_rate": 1e-4}}, "methods has no entry for sensitivity, magnitude"),
        ("methods.adam", {"learning_rate": 1e-4}, "methods.adam: unknown key; allowed: sensitivity, mask"),
        ("methods.full.layers", 2, "methods.full.layers: unknown key; allowed: learning_rate"),
        ("methods.full.learning_rate", 0, "methods.full.learning_rate: must be a number above 0, or `searched`"),
        ("methods.full.learning_rate", float("inf"), "methods.full.learning_rate: must be a number above 0"),
        ("training.precision", "fp16", "training.precision: Input should be 'auto', 'fp32' or 'bf16' (found 'fp16')"),
        ("stability.tasks", ["cola"], "stability.tasks: cola is not in tasks (sst2, mrpc)"),
        ("stability.criteria", [], "stability.criteria: Value should have at least 1 item"),
        ("transfer", {"tasks": ["sst2"], "to": ["docs_match"]}, "transfer.to: docs_match does not come from data"),
        ("stability.seeds", [0], "stability: stability needs at least two scorings to compare: add a seed or an epoch"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_key_and_what_is_allowed(key, value, message):
    assert f"params.yaml: {message}" in message_for(changed(key, value))


@pytest.mark.parametrize("source", ["hub", "local"])
def test_the_public_tasks_come_from_the_hub_or_a_folder(source):
    content = changed("data.source", source) | {"tasks": ["sst2", "boolq", "cb", "wic", "imdb"]}
    assert parse_params(content).tasks == content["tasks"]
    message = message_for(content | {"tasks": ["sst2", "docs_match"]})
    assert message.endswith("qnli, rte, wnli, boolq, cb, wic, imdb")


def test_a_missing_key_is_named():
    content = copy.deepcopy(CONTENT)
    del content["tasks"], content["stability"]["seeds"]
    assert message_for(content).splitlines() == [
        "params.yaml: tasks: this key is required",
        "params.yaml: stability.seeds: this key is required",
    ]


def test_every_problem_is_reported_at_once():
    content = changed("budgets", [0.0, 2.0])
    content["tasks"] = ["sst"]
    assert len(message_for(content).splitlines()) == 3


def test_a_file_is_read_like_its_content(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    assert load_params(path) == parse_params(CONTENT)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParamsError, match=r"params\.yaml does not exist; run from the repository root"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tasks: [sst2", "is not valid YAML"),
        (b"tasks: \xff\xfe", "is not valid YAML"),
        (b"", "must hold a mapping"),
        (b"- sst2\n", "must hold a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError, match=rf"params\.yaml {message}"):
        load_params(path)


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [(65_000, 3), (3200, 3), (3169, 3.0), (600, 300 / 19), (32, 300), (1, 300)],
)
def test_few_rows_get_more_epochs_for_the_least_number_of_steps(examples, epochs):
    assert TrainingParams(epochs=3, batch_size=32, min_steps=300).epochs_for(examples) == pytest.approx(epochs)
    assert TrainingParams(epochs=0.5, batch_size=32, min_steps=0).epochs_for(examples) == 0.5


@given(examples=st.integers(1, 9_600), least=st.integers(1, 1_000))
def test_a_least_number_of_steps_is_not_overshot(examples, least):
    training = TrainingParams(epochs=1e-9, batch_size=32, min_steps=least)
    assert training.steps_for(examples) == least


def test_the_parts_of_a_training_share_its_epochs_and_steps():
    part = TrainingParams(epochs=3, batch_size=32, min_steps=300).part(4)
    assert 4 * part.epochs_for(65_000) == 3
    assert 4 * part.epochs_for(320) * 10 == 300
