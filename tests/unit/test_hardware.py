import torch

from sensibert.compute.hardware import resolve_precision


def test_precision_is_resolved_by_the_device():
    cpu = torch.device("cpu")
    assert resolve_precision("fp32", cpu) == "fp32"
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("auto", cpu) in {"fp32", "bf16"}
