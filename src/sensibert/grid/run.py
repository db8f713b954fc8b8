"""The flow: level by level, what DVC finds outdated goes to the workers, and their results into the work tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sensibert.errors import GridError
from sensibert.grid.clones import Cache, Order, Report, place_of
from sensibert.grid.cluster import Cluster, Share, connected, require_ray
from sensibert.grid.pinned import Pinned, pin, snapshot
from sensibert.grid.plan import Stage, blocked, levels, select
from sensibert.grid.progress import shown
from sensibert.grid.workspace import (
    adopt,
    alone,
    fetch_back,
    lock_for,
    outdated,
    push,
    read_stages,
    run_here,
    shared_cache,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    address: str | None
    """Of a Ray cluster; None for one on this machine alone."""
    cells: str | None
    """A pattern; None for the whole grid, with all that is made of it."""
    share: Share
    remote: str | None
    """The DVC remote through which hosts exchange files; None if they share the cache."""
    scratch: Path | None
    """Where hosts keep their clones; None for the user's cache folder."""


@dataclass
class Outcome:
    """What a run did, by stage."""

    computed: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    here: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    remarks: dict[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> set[str]:
        """What others must not wait for."""
        return {*self.failed, *self.skipped}


def list_levels(wanted: Wanted, root: Path, say: Say) -> None:
    """Say what DVC finds outdated now, level by level and where it would run; compute nothing."""
    require_ray()
    with alone(root):
        stages, _ = read_stages(root)
        plan = levels(stages, select(stages, wanted.cells))
        changed = set(outdated(root, [name for level in plan for name in level]))
    stale: set[str] = set()
    for level in plan:
        stale |= {name for name in level if name in changed or stages[name].needs & stale}
    for number, level in enumerate(plan, 1):
        for name in level:
            if name in stale:
                say(f"{number}  {'worker' if stages[name].travels else 'head  '}  {name}")
    say(f"{len(stale)} of {sum(map(len, plan))} stages are outdated, or need one that is")


def run_grid(wanted: Wanted, root: Path, say: Say) -> Outcome:
    """Bring a grid up to date.

    Whatever ends it early, what is finished by then is kept: the next run computes the rest.

    Raises:
        GridError: it cannot begin, or a part of the machinery fails. Cells that fail are in the outcome.
    """
    require_ray()
    with alone(root), ExitStack() as stack:
        stages, watched = read_stages(root)
        plan = levels(stages, select(stages, wanted.cells))
        pinned = pin(root, watched)
        cache = stack.enter_context(shared_cache(root, wanted.remote))
        run = _Run(root, wanted, stages, pinned, cache, say, stack)
        if wanted.address:
            run.workers.describe()  # a wrong address is known at once
        for number, level in enumerate(plan, 1):
            run.level(level, f"level {number} of {len(plan)}")
        return run.outcome


@dataclass
class _Run:
    """One run: what it is about, the cluster once it is needed, and what came of it so far."""

    root: Path
    wanted: Wanted
    stages: Mapping[str, Stage]
    pinned: Pinned
    cache: Cache
    say: Say
    stack: ExitStack
    """It ends the cluster."""
    outcome: Outcome = field(default_factory=Outcome)

    @cached_property
    def workers(self) -> Cluster:
        """The cluster; a grid that is up to date starts none."""
        started = time.monotonic()
        cluster = self.stack.enter_context(connected(self.wanted.address))
        self.say(f"Ray       {cluster.describe()}, after {time.monotonic() - started:.1f} s")
        return cluster

    @cached_property
    def share(self) -> Share:
        """What each cell gets."""
        return self.workers.fit(self.wanted.share)

    @cached_property
    def pack(self) -> Any:
        """The commit, where every node gets it."""
        return self.workers.put(snapshot(self.root, self.pinned.commit))

    def level(self, names: Sequence[str], title: str) -> None:
        """Bring a level up to date, of which everything that it needs is."""
        skipped = blocked(self.stages, names, self.outcome.lost)
        self.outcome.skipped += sorted(skipped)
        changed = outdated(self.root, [name for name in names if name not in skipped])
        changed = fetch_back(self.root, changed) if changed else []
        if away := [name for name in changed if self.stages[name].travels]:
            self._compute(away, title)
        for name in changed:
            if not self.stages[name].travels:
                self._run_here(name)

    def _compute(self, names: Sequence[str], title: str) -> None:
        needs = {need for name in names for need in self.stages[name].needs}
        if self.wanted.remote:
            push(self.root, sorted(needs), self.wanted.remote)
        lock = lock_for(self.root, {*needs, *names})["stages"]
        orders = [self._order(name, lock) for name in names]
        scratch = place_of(self.root.resolve(), self.wanted.scratch)
        reports: list[Report] = []
        coming = self.workers.compute(orders, self.pinned, self.cache, scratch, self.share, self.pack)
        self.say(f"{title}: {len(names)} cells")
        try:
            with shown(len(names), title) as show:
                for report in coming:
                    show(report)
                    if report is not None:
                        reports.append(report)
        finally:  # also what was finished when the user ended it
            coming.close()
            self._adopt(reports)

    def _order(self, name: str, lock: Mapping[str, Any]) -> Order:
        needs = self.stages[name].needs
        kept = {each: lock[each] for each in sorted({*needs, name}) if each in lock}
        return Order(name, tuple(sorted(needs)), {"schema": "2.0", "stages": kept})

    def _adopt(self, reports: Sequence[Report]) -> None:
        done = {report.stage: report.entry for report in reports if report.entry is not None}
        if done:
            remarks = adopt(self.root, done, self.wanted.remote)
            for name, remark in remarks.items():
                host = next(report.host for report in reports if report.stage == name)
                self.say(f"kept      {name} of {host}: {remark}")
            self.outcome.remarks |= remarks
        self.outcome.computed += [report.stage for report in reports if report.entry is not None and report.ran]
        self.outcome.restored += [report.stage for report in reports if report.entry is not None and not report.ran]
        self.outcome.failed += [report.stage for report in reports if report.entry is None]

    def _run_here(self, name: str) -> None:
        self.say(f"here      {name}")
        try:
            run_here(self.root, name)
        except GridError as error:
            self.say(f"failed    {error}")
            self.outcome.failed.append(name)
        else:
            self.outcome.here.append(name)
