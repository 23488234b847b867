"""What a bench found, as a table for people and as plain data: every ratio beside its A/A control and its bar."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .rounds import Spread


@dataclass(frozen=True)
class Bar:
    """Something a contender must reach.

    Args:
        wanted: in words.
        met: whether it does.
    """

    wanted: str
    met: bool


@dataclass(frozen=True)
class Line:
    """One contender in one case.

    Args:
        name: of the contender.
        pace: how fast it was in its own unit.
        ratios: how many times as fast as each yardstick, by the yardstick's column.
        control: the A/A control of the case.
        bars: what is asked of it.
    """

    name: str
    pace: str
    ratios: dict[str, Spread]
    control: Spread | None = None
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True)
class Case:
    """Contenders that ran in the same rounds.

    Args:
        title: what was measured.
        lines: one a contender.
        notes: what to know besides.
    """

    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreBench:
    """All cases of a bench and where it ran."""

    place: str
    cases: tuple[Case, ...]

    @property
    def unmet(self) -> list[str]:
        """Every bar that was not reached."""
        return [
            f"{case.title}: {line.name}: {bar.wanted}"
            for case in self.cases
            for line in case.lines
            for bar in line.bars
            if not bar.met
        ]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"unmet": self.unmet}

    def render(self) -> str:
        """As text."""
        bars = sum(len(line.bars) for case in self.cases for line in case.lines)
        last = f"{bars - len(self.unmet)} of {bars} bars met" + "".join(f"\n  not met: {text}" for text in self.unmet)
        return "\n\n".join([self.place, *map(_render_case, self.cases), last])


def _render_case(case: Case) -> str:
    columns = list(dict.fromkeys(column for line in case.lines for column in line.ratios))
    controlled = any(line.control is not None for line in case.lines)
    head = ["", "", *columns, *(["A/A"] if controlled else []), "bar"]
    cells = [head, *(_cells(line, columns, controlled) for line in case.lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join([case.title, *rows, *case.notes])


def _cells(line: Line, columns: Sequence[str], controlled: bool) -> list[str]:
    ratios = [line.ratios[column].render() if column in line.ratios else "" for column in columns]
    control = [line.control.render() if line.control else ""] if controlled else []
    bars = "; ".join(f"{bar.wanted}: {'met' if bar.met else 'NOT MET'}" for bar in line.bars)
    return [line.name, line.pace, *ratios, *control, bars]
