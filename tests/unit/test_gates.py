import copy

import numpy as np
import torch

from sensibert.models.anatomy import prunable_modules
from sensibert.models.gates import fold, gated


def test_a_folded_model_computes_what_its_gates_did(tiny_model, batch):
    generator = np.random.default_rng(0)
    modules = prunable_modules(tiny_model)
    values = {key: generator.uniform(0.5, 1.5, module.shape).astype(np.float32) for key, module in modules.items()}
    if "token_outputs" in {module.paths.gate for module in modules.values()}:  # attention is left as it is
        values = {key: of if key.group == "feed_forward" else np.ones_like(of) for key, of in values.items()}
    folded = copy.deepcopy(tiny_model)
    fold(folded, values)
    with torch.no_grad(), gated(tiny_model, {key: torch.from_numpy(of.reshape(-1)) for key, of in values.items()}):
        expected = tiny_model(**batch).logits
    with torch.no_grad():
        assert (folded(**batch).logits - expected).abs().max() < 1e-5
        assert (tiny_model(**batch).logits - expected).abs().max() > 1e-4
