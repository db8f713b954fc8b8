"""Slim models: stock Transformers classes whose linear layers have sizes of their own, or adapters.

Self-contained: `save_pretrained` puts a copy of this file beside the weights, and that copy is all it takes
to load them with `from_pretrained(folder, trust_remote_code=True)`. Made by sensibert.
"""

from functools import cache
from typing import Any

import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

SLIM_PREFIX = "slim_"
"""What the model type of a slim model begins with."""


def resize(model: Any) -> None:
    """Give linear layers the sizes, and attention modules the head counts, that the config names."""
    for path, (inputs, outputs) in model.config.slim_linears.items():
        dense = model.get_submodule(path)
        is_conv = isinstance(dense, Conv1D)
        slim = Conv1D(outputs, inputs) if is_conv else nn.Linear(inputs, outputs, bias=dense.bias is not None)
        model.set_submodule(path, slim)
    for path, attributes in model.config.slim_attributes.items():
        for name, value in attributes.items():
            setattr(model.get_submodule(path), name, value)
    for path, bottleneck in getattr(model.config, "adapters", {}).items():
        add_adapter(model.get_submodule(path), bottleneck)


def add_adapter(linear: Any, bottleneck: int) -> None:
    """Give a linear layer a bottleneck adapter behind it; at first it adds nothing to the output."""
    outputs = linear.nf if isinstance(linear, Conv1D) else linear.out_features
    stock: Any = type(linear)
    linear.__class__ = adapted_class(stock)
    linear.down = nn.Linear(outputs, bottleneck)
    linear.up = nn.Linear(bottleneck, outputs)
    nn.init.zeros_(linear.up.weight)
    nn.init.zeros_(linear.up.bias)


@cache
def adapted_class(linear: Any) -> Any:
    """The linear layer whose output h becomes h + up(gelu(down(h))) (arXiv 1902.00751)."""

    def forward(self: Any, inputs: Any) -> Any:
        hidden = linear.forward(self, inputs)
        return hidden + self.up(nn.functional.gelu(self.down(hidden)))

    return type(f"Adapted{linear.__name__}", (linear,), {"forward": forward, "__module__": __name__})


@cache
def slim_config_class(stock: Any) -> Any:
    """The config class of the slim models of a stock config class: another model type, nothing else."""
    members = {"model_type": SLIM_PREFIX + stock.model_type, "_auto_class": "AutoConfig", "__module__": __name__}
    return type(f"Slim{stock.__name__}", (stock,), members)


@cache
def slim_model_class(stock: Any) -> Any:
    """The subclass of a stock model class that resizes itself before its weights load."""

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        stock.__init__(self, config, *args, **kwargs)
        resize(self)

    members = {
        "__init__": __init__,
        "__module__": __name__,
        "config_class": slim_config_class(stock.config_class),
        "_auto_class": "AutoModel" + stock.__name__[stock.__name__.index("For") :],
    }
    return type(f"Slim{stock.__name__}", (stock,), members)


def __getattr__(name: str) -> Any:
    """Make `SlimX` from the stock class `X` when somebody asks for it."""
    stock = getattr(transformers, name.removeprefix("Slim"), None) if name.startswith("Slim") else None
    if stock is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return slim_config_class(stock) if name.endswith("Config") else slim_model_class(stock)
