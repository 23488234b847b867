"""Versions against the floors that the package declares, and what decodes frames."""

import platform
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from .findings import Finding

AREA = "software"
PACKAGE = "visual-thought"
SOURCE = Path(__file__).resolve().parents[2]
CODECS = {"av1": ("libdav1d", "av1", "libaom-av1"), "h264": ("h264",), "hevc": ("hevc",)}
"""What LeRobot's videos are coded in -> decoders that read it, the fastest first."""

Declared = tuple[str, list[Requirement], dict[str, list[Requirement]]]
"""The Python versions, the requirements, and those of each extra."""


def look_at_software(source: Path = SOURCE) -> Iterator[Finding]:
    """Python, the packages, the optional packages, the decoder.

    Args:
        source: the source tree, whose ``pyproject.toml`` counts; without one, what was installed counts.
    """
    declared = declared_needs(source)
    if declared is None:
        yield Finding(
            AREA, "versions", "warn", "unknown", "this copy says nowhere what it needs", f"pip install {PACKAGE}"
        )
    else:
        python, needed, extras = declared
        yield look_at_python(python)
        yield from look_at_packages(needed)
        yield from look_at_extras(extras)
    yield look_at_decoder()


def declared_needs(source: Path) -> Declared | None:
    """What the package says it needs: in its source tree, else in what was installed."""
    try:
        project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
        extras = {
            name: [Requirement(text) for text in texts]
            for name, texts in project.get("optional-dependencies", {}).items()
        }
        return project["requires-python"], [Requirement(text) for text in project["dependencies"]], extras
    except (OSError, KeyError, ValueError, InvalidRequirement):
        return _installed_needs()


def look_at_python(needed: str) -> Finding:
    """Python's version."""
    found = platform.python_version()
    if SpecifierSet(needed).contains(found, prereleases=True):
        return Finding(AREA, "python", "ok", found, f"within {needed}")
    return Finding(AREA, "python", "missing", found, f"this package needs {needed}", f"use a Python that is {needed}")


def look_at_packages(needed: list[Requirement]) -> Iterator[Finding]:
    """One line for all packages that are as they should be, and one for each that is not."""
    fine = []
    for requirement in needed:
        found = _version(requirement.name)
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            fine.append(f"{requirement.name} {found}")
            continue
        what = "not installed" if found is None else f"{found}, needs {requirement.specifier}"
        means = "imports will fail" if found is None else "outside the versions this package was tested with"
        yield Finding(AREA, requirement.name, "missing", what, means, f"pip install '{_plain(requirement)}'")
    yield Finding(AREA, "packages", "ok", f"{len(fine)} of {len(needed)} within their bounds", ", ".join(fine))


def look_at_extras(extras: dict[str, list[Requirement]]) -> Iterator[Finding]:
    """Optional packages; what is not installed is no fault."""
    for extra, requirements in extras.items():
        for requirement in requirements:
            found = _version(requirement.name)
            if found is None:
                means = f"only what the extra {extra!r} is for needs it"
                remedy = f"if you want it: pip install '{PACKAGE}[{extra}]'"
                yield Finding(AREA, requirement.name, "note", "not installed", means, remedy)
            elif requirement.specifier.contains(found, prereleases=True):
                yield Finding(AREA, requirement.name, "ok", found, f"the extra {extra!r} works")
            else:
                what, remedy = f"{found}, needs {requirement.specifier}", f"pip install '{_plain(requirement)}'"
                yield Finding(AREA, requirement.name, "warn", what, f"the extra {extra!r} may not work", remedy)


def look_at_decoder() -> Finding:
    """PyAV and the decoders of its FFmpeg. Extraction uses no other; torchcodec is LeRobot's own."""
    try:
        import av
        from av.codec import codecs_available
    except ImportError as error:
        return Finding(
            AREA, "decoder", "missing", f"PyAV: {error}", "videos cannot be read", "pip install 'av>=15,<16'"
        )
    used = {name: next((one for one in known if one in codecs_available), None) for name, known in CODECS.items()}
    torchcodec = _version("torchcodec")
    beside = "torchcodec is not installed" if torchcodec is None else f"torchcodec {torchcodec} is not used"
    said = ", ".join(f"{name} by {one}" for name, one in used.items() if one is not None)
    lacking = [name for name, one in used.items() if one is None]
    if lacking:
        means = f"videos in {', '.join(lacking)} cannot be read"
        return Finding(AREA, "decoder", "missing", f"PyAV {av.__version__}: {said}", means, "reinstall av from a wheel")
    means = "every frame is proven by its presentation time"
    return Finding(AREA, "decoder", "ok", f"PyAV {av.__version__}: {said}; {beside}", means)


def _installed_needs() -> Declared | None:
    try:
        found = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    needed: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {name: [] for name in found.get_all("Provides-Extra") or []}
    for requirement in map(Requirement, metadata.requires(PACKAGE) or []):
        chosen = [name for name in extras if requirement.marker and requirement.marker.evaluate({"extra": name})]
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed.append(requirement)
        else:
            for name in chosen:
                extras[name].append(requirement)
    return found["Requires-Python"] or "", needed, extras


def _plain(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
