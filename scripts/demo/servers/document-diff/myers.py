"""The shortest edit script between two sequences (Myers, 1986), with a deadline."""

import time
from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """`before[before_start:before_end]` was replaced by `after[after_start:after_end]`; one may be empty."""

    before_start: int
    before_end: int
    after_start: int
    after_end: int


class TooDifferent(Exception):
    """The deadline passed: the sequences share much, but in too different an order."""


def find_edits(before: Sequence[Hashable], after: Sequence[Hashable], deadline: float) -> list[Edit]:
    """The edits that turn `before` into `after`, in order. `deadline` is on the `time.monotonic` clock."""
    # What only one side has can match nothing, so it need not take part in the search.
    shared = set(before) & set(after)
    before_kept = [index for index, item in enumerate(before) if item in shared]
    after_kept = [index for index, item in enumerate(after) if item in shared]
    numbers = {item: number for number, item in enumerate(shared)}
    kept_matches = _match(
        [numbers[before[index]] for index in before_kept],
        [numbers[after[index]] for index in after_kept],
        deadline,
    )
    matches = [(before_kept[x], after_kept[y]) for x, y in kept_matches]
    edits: list[Edit] = []
    x = y = 0
    for match_x, match_y in [*matches, (len(before), len(after))]:
        if x < match_x or y < match_y:
            edits.append(Edit(x, match_x, y, match_y))
        x, y = match_x + 1, match_y + 1
    return edits


def _match(before: list[int], after: list[int], deadline: float) -> list[tuple[int, int]]:
    """The pairs of positions that a longest common subsequence keeps."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    middle = _match_middle(before[start : len(before) - end], after[start : len(after) - end], deadline)
    return [
        *((index, index) for index in range(start)),
        *((x + start, y + start) for x, y in middle),
        *((len(before) - index, len(after) - index) for index in range(end, 0, -1)),
    ]


def _match_middle(before: list[int], after: list[int], deadline: float) -> list[tuple[int, int]]:
    if not before or not after:
        return []
    return _walk_back(_search(before, after, deadline), len(before), len(after))


def _search(before: list[int], after: list[int], deadline: float) -> list[array]:
    """For each number of edits, how far along `before` each diagonal got with one edit less.

    Diagonal k holds the points with x - y = k. Round d touches the diagonals -d, -d + 2, ..., d, and
    leans on those of round d - 1, which are kept for the way back: entry i is diagonal 2 * i - (d - 1).
    """
    rounds: list[array] = []
    previous = array("i", [0])
    for edits in range(len(before) + len(after) + 1):
        if time.monotonic() > deadline:
            raise TooDifferent
        rounds.append(previous)
        current = array("i", bytes(4 * (edits + 1)))
        for index in range(edits + 1):
            diagonal = 2 * index - edits
            x = _step(previous, index, edits)
            y = x - diagonal
            while x < len(before) and y < len(after) and before[x] == after[y]:
                x += 1
                y += 1
            if x >= len(before) and y >= len(after):
                return rounds
            current[index] = x
        previous = current
    raise AssertionError("every sequence can be turned into any other")


def _step(previous: array, index: int, edits: int) -> int:
    """Where diagonal `index` of round `edits` starts: one edit on from the neighbour that got further."""
    if edits == 0:
        return 0
    if _is_insertion(previous, index, edits):
        return previous[index]
    return previous[index - 1] + 1


def _is_insertion(previous: array, index: int, edits: int) -> bool:
    """Whether the edit comes from the diagonal above, an insertion, or from below, a deletion."""
    return index == 0 or (index < edits and previous[index - 1] < previous[index])


def _walk_back(rounds: list[array], x: int, y: int) -> list[tuple[int, int]]:
    """The matches on the way that reached (x, y), from `rounds` as `_search` kept them."""
    matches: list[tuple[int, int]] = []
    for edits in range(len(rounds) - 1, -1, -1):
        previous = rounds[edits]
        index = (x - y + edits) // 2
        start = _step(previous, index, edits)
        while x > start:
            x, y = x - 1, y - 1
            matches.append((x, y))
        # Then undo the edit itself.
        if _is_insertion(previous, index, edits):
            y -= 1
        else:
            x -= 1
    return matches[::-1]
