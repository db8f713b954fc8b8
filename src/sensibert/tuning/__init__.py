"""Tuning methods: one file per method, each saying which parameters train.

Every file has `select(model) -> list[str]`, the names of the parameters that train.
"""

TUNING_METHODS: dict[str, str] = {
    "full": "sensibert.tuning.full",
    "bitfit": "sensibert.tuning.bitfit",
    "bitfit_frozen_classifier": "sensibert.tuning.bitfit_frozen_classifier",
}
"""Name of each tuning method and the module that implements it, imported when it is used."""
