"""Planning of subtitles: which words stand together, for how long, and where the lines break.

Lives here: the search for the best cues over a whole file, and their times. Does not live here: the limits
(`reading`), the pieces that texts are cut into (`cue_tokens`), the check (`cue_check`), files (`captions`).
No word is ever left out: speech too fast to be read makes cues that the checker reports.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from services.worker.dubbing.captions import Cue
from services.worker.dubbing.cue_tokens import ARTICLE_COST, SpokenText, Token, tokenise
from services.worker.dubbing.reading import (
    CLOSE_GAP_MS,
    MAX_LINGER_MS,
    MAX_MS,
    MIN_GAP_MS,
    MIN_MS,
    ReadingLimits,
    limits_for,
    width,
)

MAX_JOIN_GAP_MS = 500
"""Texts further apart than this never share a cue: the later one would be read before it is said."""

MAX_SLIP_MS = 500
"""How much later than its first word a cue may come, where the one before could not be read otherwise (the BBC's
guidelines bear 1.5 s)."""

# Costs of the search, in the unit of `cue_tokens`: a broken limit is dearer than any break but one after an article.
_COST_CUE = 0.6
_COST_JOIN = 3.0
_COST_LIMIT = 6.0
_COST_PER_EXCESS = 10.0
_MAX_EXCESS = 3.0
_COST_SHORT = 1.0
_SHORT_MS = 3_000
_LINE_BREAK_SHARE = 0.3
_COST_IMBALANCE = 0.5


def plan_cues(texts: Sequence[SpokenText], *, language: str, duration_s: float) -> list[Cue]:
    """Return the cues of a file, in order, without overlaps, times in whole milliseconds.

    `texts` come in order of start. A cue begins with its first word, or up to MAX_SLIP_MS later
    where the one before it could not be read otherwise; it ends with its last one or as much later as its
    reader needs and the next cue allows. Texts close to each other share a cue only where they could not be read
    otherwise. Texts that begin together push each other back. `duration_s` is the length of the media.
    Raises ValueError if texts are not in order.
    """
    if any(later.start < earlier.start for earlier, later in pairwise(texts)):
        raise ValueError("texts must be in order of their starts")
    plan = _Plan(tokenise(texts, language), limits_for(language), width(" ", language), round(duration_s * 1000))
    return plan.cues()


@dataclass(frozen=True)
class _Plan:
    """The search over one file's tokens. A cue is a span [first, last) of them; times in ms, widths in characters."""

    tokens: list[Token]
    limits: ReadingLimits
    space: float
    duration_ms: int

    @cached_property
    def _widths(self) -> list[float]:
        return [0.0, *accumulate(token.width for token in self.tokens)]

    def _width(self, first: int, last: int) -> float:
        """Return the width of tokens on one line, without the space before the first of them."""
        return self._widths[last] - self._widths[first] - self.space * self.tokens[first].spaced

    def cues(self) -> list[Cue]:
        """Return the best cues with their final times."""
        cues: list[Cue] = []
        free_from = 0
        for first, last in self._best_spans():
            start = max(self.tokens[first].start, free_from)
            end = self._readable_end(start, first, last)
            if end < start + MIN_MS:
                if last == len(self.tokens):
                    start = max(min(start, self.duration_ms - MIN_MS), free_from)
                end = start + MIN_MS
            cues.append(Cue(start / 1000, end / 1000, self._text(first, last)))
            free_from = end + MIN_GAP_MS
        return cues

    def _best_spans(self) -> list[tuple[int, int]]:
        """Divide the tokens into cues at the least total cost, by dynamic programming."""
        best = [0.0]
        came_from = [0]
        for last in range(1, len(self.tokens) + 1):
            lowest, origin = math.inf, last - 1
            joins = 0.0
            for first in range(last - 1, -1, -1):
                layout, _ = self._layout(first, last)
                if math.isinf(layout) and self._width(first, last) > 2 * self.limits.line_chars + self.space:
                    break
                cost = best[first] + self.tokens[first].cost + self._cost(first, last) + layout + joins
                if cost < lowest:
                    lowest, origin = cost, first
                if self.tokens[first].opens and first:
                    if self.tokens[first].start - self.tokens[first - 1].end > MAX_JOIN_GAP_MS:
                        break
                    joins += _COST_JOIN
            best.append(lowest)
            came_from.append(origin)
        spans: list[tuple[int, int]] = []
        last = len(self.tokens)
        while last > 0:
            spans.append((came_from[last], last))
            last = came_from[last]
        return spans[::-1]

    def _end(self, start: int, first: int, last: int) -> int:
        """Return when a cue that starts at `start` should go: with the speech, or later for its reader's sake."""
        spoken_until = self.tokens[last - 1].end
        next_start = self.tokens[last].start if last < len(self.tokens) else None
        room = max(self.duration_ms, start) if next_start is None else next_start - MIN_GAP_MS
        room = min(room, start + MAX_MS)
        reading = math.ceil(self._width(first, last) * 1000 / self.limits.aim_cps)
        end = min(max(spoken_until, start + reading, start + MIN_MS), room)
        closable = next_start is not None and next_start - end <= CLOSE_GAP_MS
        return room if closable and room <= spoken_until + MAX_LINGER_MS else end

    def _readable_end(self, start: int, first: int, last: int) -> int:
        """Return the end of a cue; one too fast to be read stays, and holds the next one back for a moment."""
        end = self._end(start, first, last)
        if last == len(self.tokens):
            return end
        needed = start + math.ceil(self._width(first, last) * 1000 / self.limits.max_cps)
        latest = min(self.tokens[last].start + MAX_SLIP_MS - MIN_GAP_MS, start + MAX_MS)
        return max(end, min(needed, latest))

    def _cost(self, first: int, last: int) -> float:
        """Price a cue's time: too little to read it, too short or too long to be shown."""
        start = self.tokens[first].start
        shown = max(self._end(start, first, last) - start, 1)
        spoken = self.tokens[last - 1].end - start
        speed = self._width(first, last) * 1000 / shown
        cost = _COST_CUE + _COST_SHORT * max(1.0 - shown / _SHORT_MS, 0.0) ** 2
        if speed > self.limits.max_cps:
            cost += _limit_cost(speed / self.limits.max_cps - 1.0)
        elif speed > self.limits.aim_cps:
            cost += (speed - self.limits.aim_cps) / (self.limits.max_cps - self.limits.aim_cps)
        if shown < MIN_MS:
            cost += _limit_cost(1.0 - shown / MIN_MS)
        if spoken > MAX_MS:
            cost += _limit_cost(spoken / MAX_MS - 1.0)
        return cost

    def _layout(self, first: int, last: int) -> tuple[float, int | None]:
        """Return the price of the best layout and the token that opens its second line, None for one line.

        The price is infinite if the tokens do not fit on two lines.
        """
        limit = self.limits.line_chars
        if self._width(first, last) <= limit:
            return 0.0, None
        lowest, where = math.inf, None
        for middle in range(last - 1, first, -1):
            upper, lower = self._width(first, middle), self._width(middle, last)
            if lower > limit:
                break
            if upper > limit:
                continue
            price = self.tokens[middle].cost
            cost = price if price >= ARTICLE_COST else _LINE_BREAK_SHARE * price
            cost += _COST_IMBALANCE * abs(upper - lower) / limit
            if cost < lowest:
                lowest, where = cost, middle
        return lowest, where

    def _text(self, first: int, last: int) -> str:
        _, middle = self._layout(first, last)
        if middle is None:
            return self._line(first, last)
        return f"{self._line(first, middle)}\n{self._line(middle, last)}"

    def _line(self, first: int, last: int) -> str:
        rest = "".join(" " * token.spaced + token.text for token in self.tokens[first + 1 : last])
        return self.tokens[first].text + rest


def _limit_cost(excess: float) -> float:
    """Price a broken limit: a fixed sum, and more the further it is broken."""
    return _COST_LIMIT + _COST_PER_EXCESS * min(excess, _MAX_EXCESS)
