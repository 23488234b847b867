"""What a look at the machine found, and how it is shown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "note", "warn", "missing"]
"""``ok``: as it should be; ``note``: good to know; ``warn``: works, but not well; ``missing``: something will fail."""

_MARKS: dict[Status, str] = {"ok": "ok", "note": "-", "warn": "warn", "missing": "MISSING"}
_WIDTH, _NAME = 7, 22


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        area: the heading it stands under.
        name: what was looked at.
        status: how it is.
        found: what is there.
        means: what that means for this tool.
        remedy: what to do; None if nothing has to be done.
    """

    area: str
    name: str
    status: Status
    found: str
    means: str
    remedy: str | None = None


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is missing."""
    return all(finding.status != "missing" for finding in findings)


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings as plain data."""
    return {"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]}


def render(findings: Sequence[Finding], paint: Callable[[str, Status], str] = lambda text, _: text) -> str:
    """Findings as text for people, by area; ``paint`` colours a mark by its status. The last line is the verdict."""
    lines: list[str] = []
    for area in dict.fromkeys(finding.area for finding in findings):
        lines += ["", area]
        for finding in findings:
            if finding.area == area:
                lines += _lines(finding, paint)
    return "\n".join([*lines[1:], "", _verdict(findings, paint)])


def _lines(finding: Finding, paint: Callable[[str, Status], str]) -> list[str]:
    mark = paint(_MARKS[finding.status].rjust(_WIDTH), finding.status)
    lines = [f"{mark}  {finding.name.ljust(_NAME)}{finding.found}"]
    indent = " " * (_WIDTH + 2 + _NAME)
    if finding.status != "ok":
        lines.append(f"{indent}{finding.means}")
    if finding.remedy is not None:
        lines.append(f"{indent}to do: {finding.remedy}")
    return lines


def _verdict(findings: Sequence[Finding], paint: Callable[[str, Status], str]) -> str:
    missing = [finding.name for finding in findings if finding.status == "missing"]
    warned = [finding.name for finding in findings if finding.status == "warn"]
    if missing:
        return paint(f"not fit: {', '.join(missing)}", "missing")
    if warned:
        return paint(f"fit, with {len(warned)} to look at: {', '.join(warned)}", "warn")
    return paint("all is well", "ok")
