"""Slim models: stock Transformers classes with fewer layers, linear layers of their own sizes, adapters, or another
pooling.

Self-contained: `save_pretrained` puts a copy of this file beside the weights, and that copy is all it takes
to load them with `from_pretrained(folder, trust_remote_code=True)`. Made by sensibert.
"""

import warnings
from functools import cache, wraps
from typing import Any

import transformers
from torch import nn
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.pytorch_utils import Conv1D

SLIM_PREFIX = "slim_"
"""What the model type of a slim model begins with."""


def resize(model: Any) -> None:
    """Give linear layers the sizes, and attention modules the head counts, that the config names; drop late layers."""
    for path, count in getattr(model.config, "slim_layers", {}).items():
        model.set_submodule(path, model.get_submodule(path)[:count])
    for path, (inputs, outputs) in model.config.slim_linears.items():
        dense = model.get_submodule(path)
        is_conv = isinstance(dense, Conv1D) and inputs > 0  # without inputs a Conv1D cannot compute
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # of a module that keeps nothing
            slim = Conv1D(outputs, inputs) if is_conv else nn.Linear(inputs, outputs, bias=dense.bias is not None)
        model.set_submodule(path, slim)
    for path, attributes in model.config.slim_attributes.items():
        for name, value in attributes.items():
            setattr(model.get_submodule(path), name, value)
    for path, bottleneck in getattr(model.config, "adapters", {}).items():
        add_adapter(model.get_submodule(path), bottleneck)


def replace_head(model: Any) -> None:
    """Put one linear layer on the pooled hidden states in the place of the stock head; its weights are new."""
    encoder = model.base_model
    stock = {name: child for name, child in model.named_children() if child is not encoder}
    dropouts = [module.p for child in stock.values() for module in child.modules() if isinstance(module, nn.Dropout)]
    for name in stock:
        delattr(model, name)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    model.dropout = nn.Dropout(max(dropouts, default=0.0))
    model.classifier = nn.Linear(model.config.hidden_size, model.config.num_labels)


def pool(hidden: Any, attention_mask: Any, kind: str) -> Any:
    """One vector per text: that of its first token (`cls`), or the mean over its tokens without padding (`mean`).

    Hidden states are [texts, tokens, width], the attention mask [texts, tokens] or None.
    """
    if kind == "cls":
        return hidden[:, 0]
    if attention_mask is None:
        return hidden.mean(1)
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def classify_pooled(model: Any, *args: Any, labels: Any = None, **kwargs: Any) -> Any:
    """What `forward` does with pooling of its own: encode, pool, classify."""
    inputs = dict(zip([model.main_input_name], args, strict=False)) | kwargs
    given = {name: value for name, value in inputs.items() if name not in ("return_dict", "num_items_in_batch")}
    outputs = model.base_model(**given, return_dict=True)
    pooled = pool(outputs.last_hidden_state, given.get("attention_mask"), model.config.head_pooling["kind"])
    logits = model.classifier(model.dropout(pooled))
    loss = None if labels is None else ForSequenceClassificationLoss(labels, logits, model.config)
    return SequenceClassifierOutput(loss, logits, outputs.get("hidden_states"), outputs.get("attentions"))


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


def has_own_head(config: Any) -> bool:
    """Whether the pooling is not that of the stock class."""
    return getattr(config, "head_pooling", {}).get("kind", "pooler") != "pooler"


@cache
def slim_config_class(stock: Any) -> Any:
    """The config class of the slim models of a stock config class: another model type, nothing else."""
    members = {"model_type": SLIM_PREFIX + stock.model_type, "_auto_class": "AutoConfig", "__module__": __name__}
    return type(f"Slim{stock.__name__}", (stock,), members)


@cache
def slim_model_class(stock: Any) -> Any:
    """The subclass of a stock model class that becomes what its config says before its weights load."""

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        stock.__init__(self, config, *args, **kwargs)
        resize(self)
        if has_own_head(config):
            replace_head(self)

    @wraps(stock.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if has_own_head(self.config):
            return classify_pooled(self, *args, **kwargs)
        return stock.forward(self, *args, **kwargs)

    members = {
        "__init__": __init__,
        "forward": forward,
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
