"""Whether the methods of an experiment fit its backbone, judged by the backbone's config before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sensibert.config.method_settings import LayerParams
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.errors import ParamsError
from sensibert.models.architectures import ANATOMIES
from sensibert.models.config_file import CONFIG, read_config

_DEPTH = ("num_hidden_layers", "n_layers", "n_layer")
"""What architectures call the number of their layers."""


def check_backbone(params: Params, name: str = "params.yaml") -> Params:
    """Refuse a method that does not fit a backbone in a local folder; the error message uses `name`.

    Raises:
        BackboneError: the backbone's config.json is damaged.
        ParamsError: DVC would not see when the folder changes, or a method trains biases that the encoder does not
            have, or more layers than there are.
    """
    folder = Path(params.model.backbone)
    if (folder / CONFIG).exists():
        content = read_config(folder)
        _refuse_unwatched(params, folder, name)
        named = dict.fromkeys((*params.tuning, *params.search.tuning))
        _refuse_more_layers_than_there_are(params, named, content, name)
        _refuse_biases_that_are_not_there(params, named, content, name)
    return params


def _refuse_unwatched(params: Params, folder: Path, name: str) -> None:
    if Path(params.backbone_files).resolve() not in (folder.resolve(), *folder.resolve().parents):
        raise ParamsError(
            f"{name}: backbone_files: {params.backbone_files} is not the folder of model.backbone: {folder}, so DVC "
            f"would not see when its weights change; set backbone_files: {folder}"
        )


def _refuse_biases_that_are_not_there(params: Params, named: Iterable[str], config: dict[str, Any], name: str) -> None:
    anatomy = ANATOMIES.get(config.get("model_type", ""))
    switches = anatomy.bias_switches if anatomy else ()
    methods = [method for method in named if METHODS[method].trains_biases]
    if methods and switches and not any(config.get(switch) for switch in switches):
        raise ParamsError(
            f"{name}: tuning: {', '.join(methods)} trains biases, and the encoder of model.backbone: "
            f"{params.model.backbone} has none ({', '.join(switches)} are off in its config.json)"
        )


def _refuse_more_layers_than_there_are(params: Params, named: Iterable[str], config: dict[str, Any], name: str) -> None:
    depth = next((config[key] for key in _DEPTH if key in config), None)
    for method in named:
        settings = getattr(params.methods, method)
        if depth is not None and isinstance(settings, LayerParams) and settings.layers > depth:
            raise ParamsError(
                f"{name}: methods.{method}.layers: {settings.layers} is more than the {depth} layers of "
                f"model.backbone: {params.model.backbone}"
            )
