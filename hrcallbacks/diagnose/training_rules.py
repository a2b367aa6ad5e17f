"""Rules about how training goes: the loss, the size of updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.diagnose.rules import CannotLook, Rule

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey
    from hrcallbacks.diagnose.tracks import Track


class _Rise(NamedTuple):
    """The places of a rise's lowest and highest loss."""

    low: int
    high: int


_LOWER = "a learning rate ten times lower, or a warm-up."


@dataclass(frozen=True)
class LossRises(Rule):
    """A loss that rises from a low point by more than noise: the rate may be too high.

    With one batch an epoch, the loss has no noise of batches and is used as it is;
    otherwise its median over a window is. A rise counts if it takes two records or
    more, lifts the loss by `rise` times its low, undoes `undone_share` of the fall so
    far, and exceeds the noise: nine in ten of the window's losses at the high point lie
    above nine in ten of those at the low. Noisy losses in fewer records than three
    windows count only if the last third lies above ten times the first. Each fit is
    examined separately.

    Args:
        rise: By what multiple of its low the loss must rise.
        undone_share: How much of its fall from the start the rise must undo.
        noise: How many standard deviations of the noise the rise must exceed.
        window: How many records a median is taken over; a tenth of a long run.
        min_records: How many records it needs.
    """

    name: ClassVar[str] = "loss_rises"
    explains: ClassVar[tuple[str, ...]] = (
        *("exploding", "nan", "dead_units", "saturated_units", "frozen"),
        *("no_progress", "one_batch", "metric_stuck", "silent_outputs"),
        *("saturated_layer", "vanishing"),
    )
    rise: float = 0.5
    undone_share: float = 0.05
    noise: float = 4.0
    window: int = 10
    min_records: int = 4

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        losses = survey.losses
        if np.isnan(losses).all():
            raise CannotLook(survey.no_loss)
        survey.need(self.min_records)
        noisy = bool(survey.recording.index["batch"].max() > 1)
        for records in survey.fits:
            numbers = np.arange(len(survey))[records]
            numbers = numbers[np.isfinite(losses[records])]
            if len(numbers) >= self.min_records:
                yield from self._of_fit(survey, losses, numbers, noisy)

    def _of_fit(
        self,
        survey: Survey,
        losses: np.ndarray,
        numbers: npt.NDArray[np.integer],
        noisy: bool,
    ) -> Iterator[Finding]:
        short = noisy and len(numbers) < 3 * self.window
        width = max(self.window, len(numbers) // 10) if noisy and not short else 1
        # NumPy would copy all windows: of 100,000 records gigabytes.
        windows = pd.Series(losses[numbers]).rolling(width)
        below, smooth, above = (
            windows.quantile(share).to_numpy()[width - 1 :] for share in (0.1, 0.5, 0.9)
        )
        begin = numbers[0]
        numbers = numbers[width - 1 :]
        rest = losses[numbers] - smooth
        deviation = 1.4826 * np.median(np.abs(rest - np.median(rest)))
        rises = self._rises(smooth, self.noise * deviation)
        rises = [r for r in rises if width == 1 or below[r.high] > above[r.low]]
        if not rises and _diverges(losses[begin:], float(below[-1])):
            # All in the first window: there is no low point to rise from.
            yield self.found(
                "severe",
                f"the loss goes from {losses[begin]:.3g} at the first record to "
                f"{smooth[-1]:.3g} at the last (median)",
                "a learning rate ten times lower; clipnorm=1.0.",
                step=survey.steps[begin],
            )
            return
        if not rises or (short and not _multiplied(smooth)):
            return
        low, high = rises[0]
        again = f"; {len(rises)} such rises in all" if len(rises) > 1 else ""
        diverged = smooth[-1] - smooth[0] > self.rise * abs(smooth[0])
        what = f"the median loss of {width} records" if width > 1 else "the loss"
        yield self.found(
            "severe" if diverged else "warning",
            f"{what} rises after {survey.when(numbers[low])}, from {smooth[low]:.3g} "
            f"to {smooth[high]:.3g} at {survey.when(numbers[high])}{again}",
            "a lower learning rate (a third, say), or one that decays; clipnorm=1.0.",
            step=survey.steps[numbers[low + 1]],
        )

    def _rises(self, loss: np.ndarray, noise: float) -> list[_Rise]:
        found: list[_Rise] = []
        low = high = 0
        for n in range(1, len(loss)):
            if self._counts(loss, low, high, noise) and loss[n] < loss[high]:
                found.append(_Rise(low, high))
                low = high = n
            elif loss[n] <= loss[low]:
                low = high = n
            elif loss[n] > loss[high]:
                high = n
        if self._counts(loss, low, high, noise):
            found.append(_Rise(low, high))
        return found

    def _counts(self, loss: np.ndarray, low: int, high: int, noise: float) -> bool:
        risen = loss[high] - loss[low]
        fallen = loss[: low + 1].max() - loss[low]
        least = max(self.rise * abs(loss[low]), self.undone_share * fallen, noise)
        return bool(high - low >= 2 and risen > least)


@dataclass(frozen=True)
class UpdateSize(Rule):
    """Updates far too large or too small for the weights that they change.

    The norm of a step's update is divided by that of the weights before it, by kernel,
    and the median over the records is examined; 1e-3 is a usual value. The rule needs
    `"update_ratio"` of the weights, or raw weights of consecutive steps.

    Args:
        large: Updates are too large above this ratio.
        severe_large: Above this one it is severe.
        early: In the first ten steps, above this ratio, if the loss then multiplies,
            or nothing is learnt.
        small: Updates are too small below this ratio. Float32 rounds to 6e-8.
        whole: So they are if all together move no weights by more than this ratio, and
            nothing is learnt.
        min_records: How many records with an update it needs.
    """

    name: ClassVar[str] = "update_size"
    explains: ClassVar[tuple[str, ...]] = (
        *("loss_rises", "exploding", "nan", "dead_units", "saturated_units", "frozen"),
        *("no_progress", "one_batch", "metric_stuck", "silent_outputs"),
        *("saturated_layer", "vanishing"),
    )
    large: float = 0.2
    severe_large: float = 1.0
    early: float = 0.05
    small: float = 1e-6
    whole: float = 0.01
    min_records: int = 4

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        ratios = update_ratios(survey)
        if not ratios:
            raise CannotLook(
                "it needs 'update_ratio' of weights, or raw weights of each step, and "
                f"has no two records in a row; {survey.there_are}"
                if survey.misses_steps
                else "it needs 'update_ratio' of weights, or raw weights; "
                + survey.there_are
            )
        survey.need(self.min_records)
        found = False
        for path, ratio in ratios.items():
            known = np.isfinite(ratio) & (ratio > 0)
            if known.sum() >= self.min_records:
                for finding in self._of(survey, path, ratio, known):
                    found = True
                    yield finding
        if not found:
            yield from self._early(survey, ratios)
            yield from self._altogether(survey, ratios)

    def _early(
        self, survey: Survey, ratios: dict[str, np.ndarray]
    ) -> Iterator[Finding]:
        """Steps that were too large at the start, and spoilt the run."""
        with np.errstate(all="ignore"):
            starts = {p: r[1:11][np.isfinite(r[1:11])] for p, r in ratios.items()}
        first = {p: float(np.median(r)) for p, r in starts.items() if len(r) > 2}
        if not first or survey.steps[0] > 1 or survey.batches == 1:
            return
        worst = max(first, key=lambda p: first[p])
        loss = survey.losses[:21]
        if not np.isfinite(loss[0]):
            return
        jumps = bool(np.nanmax(loss) > 3 * abs(loss[0]))
        stuck = survey.progress is not None and not survey.learns
        if first[worst] <= self.early or not (jumps or stuck):
            return
        seen = (
            f"the loss jumps from {loss[0]:.3g} to {np.nanmax(loss):.3g}"
            if jumps
            else "nothing is learnt after"
        )
        yield self.found(
            "warning",
            f"in the first ten steps each changes these weights by {first[worst]:.2g} "
            f"times their norm (median), over {self.early:g}; 0.001 is usual; {seen}",
            _LOWER,
            path=worst,
            step=survey.steps[0],
        )

    def _altogether(
        self, survey: Survey, ratios: dict[str, np.ndarray]
    ) -> Iterator[Finding]:
        """Steps so small that all of them together change nothing."""
        if survey.progress is None or survey.learns or survey.misses_steps:
            return
        if survey.progress.steps < 29:
            return
        moved = [float(np.nansum(r[np.isfinite(r)])) for r in ratios.values()]
        if not 0 < max(moved) < self.whole:
            return
        yield self.found(
            "warning",
            f"all {survey.progress.steps + 1:,} steps together change no kernel by "
            f"more than {max(moved):.2g} of its norm",
            "a learning rate ten to a thousand times higher.",
            step=survey.steps[0],
        )

    def _of(
        self, survey: Survey, path: str, ratio: np.ndarray, known: npt.NDArray[np.bool_]
    ) -> Iterator[Finding]:
        typical = np.median(ratio[known])
        large = typical > self.large
        if not large and typical >= self.small:
            return
        beyond = ratio > self.large if large else ratio < self.small
        limit = f"over {self.large:g}" if large else f"under {self.small:g}"
        severity = "severe" if typical > self.severe_large else "warning"
        yield self.found(
            "note" if not large and survey.learns else severity,
            f"a step changes these weights by {typical:.2g} times their norm (median "
            f"of {known.sum():,} steps), {limit}; 0.001 is usual",
            _LOWER
            if large
            else "a higher learning rate, or an optimizer that adapts it (Adam).",
            path=path,
            step=survey.steps[np.argmax(known & beyond)],
        )


def _diverges(loss: np.ndarray, end: float) -> bool:
    """Whether nine in ten of the last losses lie ten times above each of the first."""
    return bool(end > 10 * np.abs(loss[:2]).max() > 0)


def _multiplied(loss: np.ndarray) -> bool:
    third = max(len(loss) // 3, 2)
    start = loss[:third].max()
    return bool(loss[-third:].min() > start + 9 * abs(start))


def update_ratios(survey: Survey) -> dict[str, np.ndarray]:
    """Norm of each step's update over that of the weights, by kernel's path."""
    recorded = survey.numbers("weights", "update_ratio")
    found = {p: recorded[p] for p in survey.kernels if p in recorded}
    if not found:
        for path in survey.kernels:
            track = survey.track("weights", path)
            if track and len(survey) > 1:
                found[path] = _ratio(track, survey)
    return {p: r for p, r in found.items() if np.isfinite(r).any()}


def _ratio(track: Track, survey: Survey) -> np.ndarray:
    before = np.concatenate([[np.nan], track.norms[:-1]])
    with np.errstate(all="ignore"):
        ratio = track.change_norms / before
    # Over several steps the weights move further than in one.
    single = np.diff(survey.steps, prepend=survey.steps[0]) == 1
    return np.where(single, ratio, np.nan)
