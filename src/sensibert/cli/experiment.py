"""Commands for experiments: they choose one and show what DVC computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensibert.cli.app import app


@app.command()
def profile(
    name: Annotated[str | None, typer.Argument(help="The profile to activate; without it, list all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Throw away edits of params.yaml.")] = False,
) -> None:
    """List the profiles, or make one the active params.yaml.

    A profile is a parameter file in profiles/. Activating one replaces params.yaml and swaps dvc.lock;
    data and reports of the others stay where they are. Edits of params.yaml are never thrown away
    unless --force says so: to keep them, copy params.yaml to profiles/NEW.yaml and set `profile: NEW`.
    """
    from sensibert.config import profiles
    from sensibert.config.params import load_params
    from sensibert.models.fit import check_backbone

    if name is not None:
        if path := profiles.available().get(name):
            check_backbone(load_params(path), str(path))
        profiles.activate(name, force=force)
        typer.echo(f"params.yaml is now the profile {name}; `dvc repro` computes what is missing")
        return
    active = profiles.active()
    found = profiles.available()
    width = max(map(len, found), default=0)
    for known, path in found.items():
        typer.echo(f"{'*' if known == active else ' '} {known:{width}}  {profiles.summary(path)}")
    if active is None:
        typer.echo(f"params.yaml equals none of them; it was derived from: {profiles.derived_from() or 'none'}")


@app.command()
def check() -> None:
    """Check params.yaml: every value, what goes together, and whether the methods fit the backbone.

    `dvc repro` reads the file before any stage can check it, and says little about a wrong value; this names the key.
    """
    from sensibert.config.params import check_for_dvc, load_params
    from sensibert.models.fit import check_backbone

    params = check_backbone(load_params())
    check_for_dvc(params)
    typer.echo(f"params.yaml is good: profile {params.profile}, {len(params.cells())} cells")


@app.command()
def track() -> None:
    """Bring the results into MLflow: a run for each cell and for the mean of its seeds, and the best slim models.

    The runs follow from the files that `dvc repro` leaves, so it does no harm to repeat this: the same
    files give the same runs. The store is mlflow.db, or what MLFLOW_TRACKING_URI names.
    """
    from sensibert.config.params import load_params
    from sensibert.config.paths import Paths
    from sensibert.experiment.tracking.sync import sync

    params = load_params()
    report = sync(params, Paths(params.profile))
    typer.echo(f"store       {report.store}")
    typer.echo(f"experiment  {report.experiment}")
    typer.echo(f"runs        {report.created} created, {report.kept} kept")
    if report.missing:
        typer.echo(f"missing     {len(report.missing)} cells are not computed yet; `dvc repro` computes them")
    for name, aliases in report.models.items():
        typer.echo(f"model       {name}: {aliases}")
    typer.echo(f"open        {report.how_to_open}")


@app.command()
def show() -> None:
    """Say where the page, the tables, the plots and the runs of the active profile are."""
    from sensibert.config.params import load_params
    from sensibert.config.paths import Paths
    from sensibert.experiment.tracking.places import tracking_uri
    from sensibert.experiment.tracking.store import experiment_id
    from sensibert.experiment.tracking.view import how_to_open

    params = load_params()
    paths = Paths(params.profile)
    uri = tracking_uri()
    cells = params.cells()
    done = sum(paths.metrics(cell).exists() for cell in cells)
    typer.echo(f"profile  {params.profile}: {done} of {len(cells)} cells computed")
    typer.echo(f"page     {_listed(paths.reports, '*.html')}")
    typer.echo(f"tables   {_listed(paths.reports, '*.md')}")
    typer.echo(f"plots    {_listed(paths.reports, '*.svg')}")
    typer.echo(f"runs     {how_to_open(uri, experiment_id(uri, params.profile))}")


@app.command()
def verify(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove damaged files; `dvc repro` makes them again.")
    ] = False,
) -> None:
    """Read every output that dvc.lock names, in the work tree and in DVC's cache: is it what was computed?

    DVC looks at sizes and times. A bit that flipped on a disk, or a file that a crash cut short, can pass for whole
    and be restored from the cache. Ends with 1 if a file is damaged and stays.
    """
    from sensibert.experiment.verify import find_damage, mend

    damaged = find_damage()
    for damage in damaged:
        typer.echo(f"{'removed' if remove else 'damaged'}  {damage}")
    if not damaged:
        typer.echo("no file is damaged")
    elif remove:
        mend(damaged)
        typer.echo("`dvc repro` makes them again")
    else:
        typer.echo("`sensibert verify --remove` and `dvc repro` make them again")
        raise typer.Exit(1)


def _listed(folder: Path, pattern: str) -> str:
    files = sorted(folder.rglob(pattern))
    return "\n         ".join(map(str, files)) or "not there yet; `dvc repro` makes them"
