"""The segments there are, as the event loop knows them."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from receiver.spool.entry import position_of, split_position
from receiver.spool.on_disk import HEADER_SIZE

_SEGMENT_NAME = re.compile(r"(\d{10})\.spool")
_SIDECAR_NAME = re.compile(r"(\d{10})\.index")


def segment_path(directory: str, number: int) -> str:
    return f"{directory}/{number:010d}.spool"


def sidecar_path(directory: str, number: int) -> str:
    return f"{directory}/{number:010d}.index"


def numbers_in(names: Iterable[str]) -> tuple[list[int], set[int]]:
    """Numbers of segments, in order, and of sidecars, among file names. Other files are left alone."""
    segments, sidecars = [], set()
    for name in names:
        if match := _SEGMENT_NAME.fullmatch(name):
            segments.append(int(match[1]))
        elif match := _SIDECAR_NAME.fullmatch(name):
            sidecars.add(int(match[1]))
    return sorted(segments), sidecars


@dataclass(slots=True)
class Segment:
    number: int
    first_sequence: int
    end_sequence: int  # one more than the last request's
    end: int = HEADER_SIZE  # committed bytes: reads stop here
    bytes: int = HEADER_SIZE  # on disk
    proven: int = HEADER_SIZE  # acknowledged for certain; less than end when a crash cut the segment short
    previous: int = 0  # number and committed end of the segment before, 0 when not known
    previous_end: int = 0
    sealed: bool = False
    foreign: bool = False  # of a later format version: kept, never read or deleted


class Segments:
    """Segments by number, in order."""

    def __init__(self) -> None:
        self._by_number: dict[int, Segment] = {}
        self._numbers: list[int] = []

    def __iter__(self) -> Iterator[Segment]:
        return (self._by_number[number] for number in self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, segment: Segment) -> None:
        self._by_number[segment.number] = segment
        insort(self._numbers, segment.number)

    def replace(self, segment: Segment) -> None:
        """Know a segment that is there anew."""
        self._by_number[segment.number] = segment

    def remove(self, number: int) -> None:
        del self._by_number[number]
        self._numbers.remove(number)

    def get(self, number: int) -> Segment | None:
        return self._by_number.get(number)

    @property
    def first(self) -> Segment | None:
        return self._by_number[self._numbers[0]] if self._numbers else None

    @property
    def last(self) -> Segment | None:
        return self._by_number[self._numbers[-1]] if self._numbers else None

    def at_or_after(self, number: int) -> Segment | None:
        index = bisect_left(self._numbers, number)
        return self._by_number[self._numbers[index]] if index < len(self._numbers) else None

    def before(self, number: int) -> Segment | None:
        index = bisect_left(self._numbers, number)
        return self._by_number[self._numbers[index - 1]] if index else None

    def start(self, end: int) -> int:
        """Where the oldest record is; `end` when there is none."""
        first = self.first
        return position_of(first.number, HEADER_SIZE) if first else end

    def bytes_from(self, position: int) -> int:
        """Bytes of requests at or after a position, as they are on disk."""
        number, offset = split_position(position)
        return sum(
            segment.end - (max(offset, HEADER_SIZE) if segment.number == number else HEADER_SIZE)
            for segment in self
            if segment.number >= number
        )
