"""Let the Auto classes of Transformers load slim models.

`import sensibert` alone does it, and stays light: if Transformers is not imported yet, the classes are registered
as soon as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from sensibert.models.architectures import ANATOMIES

_TRANSFORMERS = "transformers"


def register_with_transformers() -> None:
    """Register the slim classes of every architecture: now, or when Transformers is imported."""
    if _TRANSFORMERS in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    from transformers import (
        CONFIG_MAPPING,
        AutoConfig,
        AutoModelForImageClassification,
        AutoModelForSequenceClassification,
    )

    from sensibert.models.modeling_slim import slim_config_class, slim_model_class

    for model_type in ANATOMIES:
        stock_config = CONFIG_MAPPING[model_type]
        config_class = slim_config_class(stock_config)  # type: ignore[arg-type]
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        for auto in (AutoModelForSequenceClassification, AutoModelForImageClassification):
            if stock_config in auto._model_mapping:
                auto.register(config_class, slim_model_class(auto._model_mapping[stock_config]), exist_ok=True)


class _Finder(MetaPathFinder):
    """Finds Transformers where the other finders do, and registers as soon as the package has been imported.

    Its modules import each other in circles; at that moment none of them is half loaded.
    """

    def __init__(self) -> None:
        self.searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of Transformers; None for any other module."""
        if fullname != _TRANSFORMERS or self.searching:
            return None
        self.searching = True  # the search below asks this finder too
        try:
            spec = find_spec(fullname)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                sys.meta_path.remove(self)
                _register()

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec
