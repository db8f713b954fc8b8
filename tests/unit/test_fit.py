import json

import pytest

from sensibert.config.params import parse_params
from sensibert.errors import ParamsError
from sensibert.models.fit import check_backbone

CONTENT = {
    "profile": "small",
    "tasks": ["sst2"],
    "seeds": [0],
    "criteria": ["magnitude"],
    "budgets": [0.4],
    "tuning": ["full"],
    "data": {"source": "hub"},
    "model": {"backbone": "some/hub-id"},
    "methods": {name: {"learning_rate": 1e-3} for name in ("full", "magnitude", "bitfit", "surgical")},
    "stability": {"tasks": ["sst2"], "seeds": [0, 1], "epochs": [1]},
}


@pytest.fixture
def params_for(tmp_path):
    """Give parameters whose backbone is a folder with this config and nothing else."""

    def of_backbone(config, **changes):
        (tmp_path / "config.json").write_text(json.dumps(config))
        own = {"model": {"backbone": str(tmp_path)}, "backbone_files": str(tmp_path)}
        return parse_params(CONTENT | own | changes)

    return of_backbone


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layers", "n_layer"])
def test_more_layers_than_the_backbone_has_are_refused(params_for, key):
    def tuned(layers):
        methods = CONTENT["methods"] | {"surgical": {"learning_rate": 1e-3, "layers": layers}}
        return params_for({"model_type": "bert", key: 2}, tuning=["full", "surgical"], methods=methods)

    assert check_backbone(tuned(2)).methods.surgical.layers == 2
    with pytest.raises(ParamsError, match=r"methods\.surgical\.layers: 3 is more than the 2 layers of model"):
        check_backbone(tuned(3))


@pytest.mark.parametrize(
    "named", [{"tuning": ["full", "bitfit"]}, {"search": {"tasks": ["sst2"], "tuning": ["bitfit"], "seeds": [0]}}]
)
def test_a_method_that_cannot_run_is_refused(params_for, named):
    without, with_biases = (params_for({"model_type": "modernbert", "attention_bias": on}, **named) for on in (0, 1))
    message = r"mine\.yaml: tuning: bitfit trains biases, and the encoder of model.backbone: .* has none"
    assert check_backbone(with_biases) == with_biases
    params_for({"model_type": "modernbert", "attention_bias": False})
    with pytest.raises(ParamsError, match=message):
        check_backbone(without, "mine.yaml")


def test_a_local_backbone_must_be_what_dvc_watches(params_for, tmp_path):
    assert check_backbone(params_for({}, backbone_files=str(tmp_path.parent)))
    with pytest.raises(
        ParamsError, match=f"^mine.yaml: backbone_files: weights is not .* set backbone_files: {tmp_path}$"
    ):
        check_backbone(params_for({}, backbone_files="weights"), "mine.yaml")


def test_a_backbone_that_is_not_at_hand_is_not_judged():
    params = parse_params(CONTENT | {"tuning": ["full", "bitfit", "surgical"]})
    assert check_backbone(params) == params
