"""The command that computes the grid on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensibert.cli.app import app


@app.command()
def grid(
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="auto|HOST:PORT",
            help="A Ray cluster that this machine is a node of; without it (and RAY_ADDRESS), one on this machine "
            "alone, which ends with the command.",
        ),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            "--cells",
            metavar="PATTERN",
            help="Only these cells (sst2-*-0.5-0) or stages (evaluate@*), and what they need; no tables are made.",
        ),
    ] = None,
    cpus: Annotated[
        int, typer.Option("--cpus-per-cell", min=1, help="CPUs of a cell; its command uses as many threads.")
    ] = 1,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-cell",
            min=0,
            help="GPUs of a cell, such as 0.5 for two cells on one; without it 1 where the cluster has any.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Cells at once, at most; without it as many as fit.")
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="How often a cell begins again whose worker or host was lost.")
    ] = 3,
    remote: Annotated[
        str | None,
        typer.Option(
            "--remote", metavar="NAME", help="Exchange files through this DVC remote; without it hosts share the cache."
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option("--scratch", metavar="DIR", help="Where each host keeps its clones; without it, in ~/.cache."),
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry", help="Print what is outdated and where it would run, and stop.")
    ] = False,
) -> None:
    """Compute what is missing of the grid on many machines, with Ray: the same results as `dvc repro`.

    \b
    DVC says what is outdated. Each cell is computed in a clone of the commit that is checked out here, with
    params.yaml and dvc.lock as they are here; this machine takes the results into its work tree, and runs
    what reads from outside (download) and what gathers (rates, bench, compare, stability, track). A run that
    was interrupted goes on where it was. Needs pip install 'sensibert[ray]'.
    """  # noqa: D301 (a real backspace: it keeps the lines as they are)
    from sensibert.config.params import check_for_dvc, load_params
    from sensibert.errors import ParamsError
    from sensibert.grid.cluster import Share, require_ray
    from sensibert.grid.run import Wanted, list_levels, run_grid

    require_ray()
    if address == "":  # of a variable that is not set; this machine alone would be a surprise
        raise ParamsError("--address is empty; give HOST:PORT, or leave it out for this machine alone")
    params = load_params()
    _check_backbone(params.model.backbone)
    if cells is None:
        check_for_dvc(params)
    root = Path.cwd()
    wanted = Wanted(address, cells, Share(cpus, gpus, retries, workers), remote, scratch and scratch.absolute())
    if dry:
        list_levels(wanted, root, typer.echo)
        return
    try:
        outcome = run_grid(wanted, root, typer.echo)
    except KeyboardInterrupt:
        typer.echo("interrupted; what was finished is kept, and the same command computes the rest", err=True)
        raise typer.Exit(130) from None
    done = [
        (len(outcome.computed), "computed by workers"),
        (len(outcome.restored), "restored by workers"),
        (len(outcome.here), "computed here"),
        (len(outcome.failed), "failed"),
        (len(outcome.skipped), "skipped, since what they need failed"),
    ]
    typer.echo("; ".join(f"{number} {what}" for number, what in done if number) or "everything is up to date")
    if outcome.failed:
        typer.echo(f"error: {len(outcome.failed)} stages failed: {', '.join(outcome.failed)}", err=True)
        raise typer.Exit(1)


def _check_backbone(backbone: str) -> None:
    """Refuse a folder that the clones would look for in themselves, or then on the hub.

    Raises:
        ParamsError: it is relative.
    """
    from sensibert.errors import ParamsError

    if Path(backbone).is_dir() and not Path(backbone).is_absolute():
        raise ParamsError(f"model.backbone: {backbone} is relative; name a folder that every host has by its full path")
