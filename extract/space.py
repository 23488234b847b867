"""Whether features fit the disk, and what would fit if they do not."""

from ..pipeline.errors import MachineError
from .plan import ExtractionPlan


def require_space(planned: ExtractionPlan) -> None:
    """Raise MachineError unless the missing parts fit the disk; says what would fit."""
    needed, room = planned.bytes_missing, room_for(planned)
    if needed <= room:
        return
    raise MachineError(
        f"the features do not fit the disk of {planned.config.store}",
        found=f"{human_bytes(planned.free_bytes)} free ({planned.free_bytes} bytes), of which "
        f"{human_bytes(planned.config.keep_free_bytes)} stay free",
        expected=f"{human_bytes(needed)} ({needed} bytes)",
        remedy=_what_fits(planned, room),
    )


def room_for(planned: ExtractionPlan) -> int:
    """Bytes that an extraction may write."""
    return planned.free_bytes - planned.config.keep_free_bytes


def human_bytes(count: float) -> str:
    """A number of bytes as people read it: 12.3 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _what_fits(planned: ExtractionPlan, room: int) -> str:
    ways = []
    if planned.config.dtype == "fp32":
        ways.append("dtype bf16" + _with_stride(planned, planned.bytes_missing // 2, room))
    if room > 0:
        ways.append(_with_stride(planned, planned.bytes_missing, room).removeprefix(" and "))
    return "; ".join([*ways, "or put the store on a larger disk"])


def _with_stride(planned: ExtractionPlan, needed: int, room: int) -> str:
    """The stride that makes ``needed`` bytes fit, if it takes another one, and what is needed then."""
    if needed <= room or room <= 0:
        return f" needs {human_bytes(needed)}"
    now = planned.dataset.manifest.stride
    stride = now * -(-needed // room)
    return f" and stride {stride} (now {now}) needs {human_bytes(needed * now / stride)}"
