"""Do repeated scoring passes agree? Table, picture and verdict."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.analysis.layer_agreement import layer_agreements
from sensibert.analysis.stability import spearman_matrices, stability_table, verdicts
from sensibert.config.method_settings import SurgicalParams
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.report.gather_stability import gather_layer_scores, gather_scores
from sensibert.report.heat_maps import write_stability_matrix
from sensibert.report.stability import write_stability


def stability(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write the stability files of reports/PROFILE."""
    passes = gather_scores(paths, params)
    table = stability_table(passes, params)
    layers = layer_agreements(gather_layer_scores(paths, params), _tuned_layers(params))
    write_stability(table, layers, paths.reports)
    write_stability_matrix(spearman_matrices(passes, params.stability.criteria), paths.reports)
    for (task, criterion), verdict in verdicts(table).items():
        print(f"{task}, {criterion}: {verdict}")


def _tuned_layers(params: Params) -> int:
    """How many layers surgical fine-tuning trains, or would by default."""
    settings = params.methods.surgical or SurgicalParams(learning_rate=1.0)
    return settings.layers


if __name__ == "__main__":
    run(stability)
