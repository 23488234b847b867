"""The processor, its instructions, the memory, and the GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..machine import available_memory
from ..store.listing import readable_bytes
from .findings import Finding

AREA = "machine"
LITTLE_MEMORY = 4 * 10**9

INSTRUCTIONS = {
    "AMX bf16": (("amx_bf16", "amx_tile"), "extraction in bf16 on the CPU is several times as fast as in fp32"),
    "avx512_bf16": (("avx512_bf16",), "extraction in bf16 on the CPU is up to twice as fast as in fp32"),
    "vpclmulqdq": (("avx512f", "vpclmulqdq"), "checksums of rows run at the speed of memory"),
}
"""Name -> its flags in /proc/cpuinfo, and what it is good for here."""


def look_at_hardware(cpuinfo: Path = Path("/proc/cpuinfo"), devices: Path = Path("/dev")) -> Iterator[Finding]:
    """Processor, memory and GPU."""
    yield from look_at_processor(cpuinfo)
    yield look_at_memory(available_memory())
    yield from look_at_gpus(devices)


def look_at_processor(cpuinfo: Path) -> Iterator[Finding]:
    """Its name, the cores this process may use, and the instructions that matter."""
    facts = _facts(cpuinfo)
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    cores = len(os.sched_getaffinity(0))
    name = facts.get("model name", "unknown processor")
    yield Finding(AREA, "cores", "ok", f"{cores} of {os.cpu_count()} usable ({name})", "decode threads scale with them")
    for instruction, (needed, means) in INSTRUCTIONS.items():
        if flags.issuperset(needed):
            yield Finding(AREA, instruction, "ok", "yes", means)
        else:
            yield Finding(AREA, instruction, "note", "no", f"where it is there, {means}")


def look_at_memory(free: int) -> Finding:
    """Memory that is left."""
    if free >= LITTLE_MEMORY:
        return Finding(AREA, "memory", "ok", f"{readable_bytes(free)} free", "a full-size backbone fits")
    return Finding(
        AREA,
        "memory",
        "warn",
        f"{readable_bytes(free)} free",
        f"a full-size backbone needs about {readable_bytes(LITTLE_MEMORY)}",
        "end other programs, or extract on another machine",
    )


def look_at_gpus(devices: Path) -> Iterator[Finding]:
    """The GPUs that torch can use. torch, which takes seconds to load, is asked only if the system has one."""
    if not list(devices.glob("nvidia[0-9]*")):
        yield Finding(AREA, "GPU", "note", "none", "everything runs on the CPU; full-size backbones are slow there")
        return
    import torch

    if not torch.cuda.is_available():
        built = f"torch {torch.__version__}, built for CUDA {torch.version.cuda}"
        remedy = "install the torch build for this driver's CUDA version (see `nvidia-smi`)"
        yield Finding(AREA, "GPU", "warn", f"there is one, but not for {built}", "everything runs on the CPU", remedy)
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found = f"{about.name}, {readable_bytes(about.total_memory)}, bf16 {'yes' if bf16 else 'no'}"
        if bf16:
            yield Finding(AREA, f"cuda:{number}", "ok", found, "used by --device auto")
        else:
            yield Finding(AREA, f"cuda:{number}", "warn", found, "bf16 is emulated and slow", "use --dtype fp32")


def _facts(cpuinfo: Path) -> dict[str, str]:
    """The first processor's lines."""
    try:
        lines = cpuinfo.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
