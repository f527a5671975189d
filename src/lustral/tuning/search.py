"""A search over the settings of a purifier: candidates, rungs, the front and what is recommended. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lustral.bench.plan import Plan, make_plan
from lustral.bench.recipe import Recipe
from lustral.bench.run import Summary, run_plan
from lustral.data import DataSettings
from lustral.measures import pareto_front
from lustral.purifiers import PURIFIERS
from lustral.settings import SettingsError, canonical
from lustral.tuning.rungs import GOALS, RUNGS, cells_of_rung, check_chunks, promote
from lustral.tuning.scores import Score, clean_measure, read_scores, unfinished
from lustral.tuning.space import Candidate, draw_candidates

if TYPE_CHECKING:
    from lustral.bench.run import Progress

__all__ = ["Outcome", "Search", "Tuning", "notes_on_data", "recommend", "tune"]

State = Literal["finished", "stopped", "failed", "rejected"]

_ROUNDING = 1e-9
CONTROL = canonical(PURIFIERS["identity"].make().to_json())


@dataclass(frozen=True)
class Search:
    """What is searched and how.

    Attributes:
        recipe: its data, targets, attacks, protocol and seed are used; its defences are not.
        purifier: fixed settings, as typed.
        space: searched ones, ``key=low..high``, ``key=log:low..high`` or ``key=a|b|c``.
        method: "random" puts every candidate before all images; "halving" begins with a quarter of them and promotes
            half of the candidates to twice the images.
        trials: candidates, the first of which is ``purifier`` as it is, where that is complete.
        seed: of the candidates.
        clean_loss: what a recommended candidate may lose of the best clean measure, in hundredths.
        allow_test: whether images that are reported may be used.
    """

    recipe: Recipe
    purifier: str
    space: tuple[str, ...]
    method: Literal["random", "halving"] = "random"
    trials: int = 20
    seed: int = 0
    clean_loss: float = 5.0
    allow_test: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        state: "finished" (all images), "stopped" (not promoted), "failed" (a cell raised) or "rejected" (bad settings).
        scores: of every rung it was in, fewest images first.
        reason: why it failed or was rejected.
        on_front: no other finished candidate is as good in clean, robust and passes and better in one.
        recommended: see ``recommend``.
    """

    candidate: Candidate
    state: State = "stopped"
    scores: tuple[Score, ...] = ()
    reason: str = ""
    on_front: bool = False
    recommended: bool = False


@dataclass
class Tuning:
    """A search that ended.

    Attributes:
        notes: what readers must know about the images.
        undefended: the targets without a purifier, on the images of the last rung; None if that failed.
        summaries: how the runs of the rungs ended; the last says whether they were stopped.
    """

    search: Search
    measure: str
    notes: tuple[str, ...]
    outcomes: tuple[Outcome, ...] = ()
    undefended: Score | None = None
    summaries: list[Summary] = field(default_factory=list[Summary])

    @property
    def exit_code(self) -> int:
        """0 if every cell is finished, 130 after Ctrl-C or SIGTERM, else 1."""
        return max((summary.exit_code for summary in self.summaries), default=0)


def notes_on_data(recipe: Recipe, allow_test: bool) -> tuple[str, ...]:
    """What to know about the images of a recipe before settings are chosen on them.

    Raises:
        SettingsError: they are test images, and that is not allowed.
    """
    notes: list[str] = []
    for suite in recipe.suite:
        data = _innermost(suite.data)
        if len(data.splits) == 1:
            notes.append(f"{data.name} has no splits: suite {suite.name!r} uses its images; report none of them later")
        elif data.split == "test" and not allow_test:
            raise SettingsError(
                f"suite {suite.name!r} uses the test split of {data.name}; settings chosen on images that are reported "
                f"make their numbers too good. Choose on training images (--change "
                f"suite.{suite.name}.data={data.name}:split=train,... with its other settings), or say --allow-test"
            )
        elif data.split == "test":
            notes.append(f"suite {suite.name!r} uses TEST images of {data.name}: numbers on them are too good")
    return tuple(notes)


def _innermost(data: DataSettings) -> DataSettings:
    inner = getattr(data, "data", None)
    return _innermost(inner) if isinstance(inner, DataSettings) else data


def tune(
    search: Search,
    folder: Path | str,
    *,
    workers: int = 1,
    engine: str = "local",
    command: str = "",
    on_event: Callable[[Progress], None] = lambda progress: None,
) -> Tuning:
    """Carry out a search, or go on with one: what ``folder`` holds is not computed again.

    Candidates follow from ``search`` and promotions from stored results, so that a search that was stopped ends as
    one that was not.

    Args:
        search: what.
        folder: of results, see ``lustral.bench.store.Store``.
        workers: processes; 0 means in this one.
        engine: a key of ``lustral.bench.run.ENGINES``.
        command: kept in ``recipe.json``.
        on_event: told about every cell.

    Raises:
        SettingsError: test images, a space or settings that cannot be used, or too few chunks for halving.
        ImportError: the extra ``tune`` is not installed.
    """
    notes = notes_on_data(search.recipe, search.allow_test)
    found = Tuning(search, clean_measure(search.recipe), notes)
    candidates = draw_candidates(search.purifier, search.space, search.trials, search.seed)
    outcomes = {
        candidate.number: Outcome(candidate, "rejected" if candidate.reason else "stopped", reason=candidate.reason)
        for candidate in candidates
    }
    going = [candidate for candidate in candidates if candidate.settings is not None]
    run = partial(run_plan, out=Path(folder), workers=workers, engine=engine, on_event=on_event)
    for share in RUNGS if search.method == "halving" else RUNGS[-1:]:
        rung = _run_rung(search.recipe, going, share, run, command)
        found.summaries.append(rung.summary)
        if rung.summary.interrupted:
            return found
        found.undefended = rung.scores.get(CONTROL)
        for candidate in going:
            outcomes[candidate.number] = rung.after(outcomes[candidate.number])
        going = rung.promoted(going)
        if not going:
            break
    found.outcomes = recommend(tuple(outcomes.values()), search.clean_loss)
    return found


@dataclass(frozen=True)
class _Rung:
    """A finished rung: scores by defence, and why others have none."""

    share: Fraction
    summary: Summary
    scores: dict[str, Score]
    reasons: dict[str, str]

    def after(self, outcome: Outcome) -> Outcome:
        key = outcome.candidate.key
        if key not in self.scores:
            return replace(outcome, state="failed", reason=self.reasons.get(key, "a cell is missing"))
        state: State = "finished" if self.share == 1 else "stopped"
        return replace(outcome, state=state, scores=(*outcome.scores, self.scores[key]))

    def promoted(self, going: Sequence[Candidate]) -> list[Candidate]:
        scored = [candidate for candidate in going if candidate.key in self.scores]
        points = np.array([self.scores[candidate.key].point for candidate in scored]).reshape(-1, 3)
        return [scored[row] for row in promote(points, -(-len(going) // 2))]


def _run_rung(
    recipe: Recipe, candidates: Sequence[Candidate], share: Fraction, run: Callable[..., Summary], command: str
) -> _Rung:
    plan = plan_for(recipe, candidates)
    if share < 1:
        check_chunks(plan.places, recipe.chunk)
    values = {**plan.recipe.to_json(), "command": command}
    summary = run(cells_of_rung(plan.cells, share), recipe=values)
    if summary.interrupted:
        return _Rung(share, summary, {}, {})
    places = cells_of_rung(plan.places, share)
    reasons = unfinished(summary.folder, places)
    return _Rung(share, summary, read_scores(summary.folder, places, plan.recipe, reasons), reasons)


def plan_for(recipe: Recipe, candidates: Iterable[Candidate]) -> Plan:
    """The recipe with candidates for defences, without extra runs, pictures and claims of papers."""
    defences = tuple(candidate.settings for candidate in candidates if candidate.settings is not None)
    return make_plan(
        recipe.model_copy(
            update={
                "name": f"tune_{recipe.name}",
                "suite": tuple(
                    suite.model_copy(update={"defences": defences, "calibration": ()}) for suite in recipe.suite
                ),
                "protocol": recipe.protocol.model_copy(update={"checks": False}),
                "pictures": 0,
                "published": (),
            }
        )
    )


def recommend(outcomes: Sequence[Outcome], clean_loss: float) -> tuple[Outcome, ...]:
    """Mark the front among candidates that saw all images, and one of it.

    That one has the highest robust share among those that lose at most ``clean_loss`` hundredths of the best clean
    measure of any candidate; ties go to fewer passes, then to the better clean measure, then to the earlier one.
    """
    finished = [outcome for outcome in outcomes if outcome.state == "finished"]
    points = np.array([outcome.scores[-1].point for outcome in finished]).reshape(-1, 3)
    front = pareto_front(points, GOALS)
    best = points[front, 0].max(initial=-np.inf)
    kept = [row for row in np.flatnonzero(front).tolist() if points[row, 0] >= best - clean_loss / 100 - _ROUNDING]
    order = sorted(kept, key=lambda row: (-points[row, 1], points[row, 2], -points[row, 0], row))
    marks = {
        outcome.candidate.number: {"on_front": bool(front[row]), "recommended": order[:1] == [row]}
        for row, outcome in enumerate(finished)
    }
    return tuple(replace(outcome, **marks.get(outcome.candidate.number, {})) for outcome in outcomes)
