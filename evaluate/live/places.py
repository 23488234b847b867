"""Files that commands make: refused before the work if they cannot be meant, there in one step or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ...pipeline.errors import ConfigError, MachineError
from ...pipeline.store.system import publish


def require_new(path: Path, suffixes: Sequence[str], option: str) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        ConfigError: another kind of file, a folder that is not there, or something that is there already.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{option} is no such file", found=path.name, expected=f"a name that ends in {suffixes[0]}")
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} is there already", remedy=f"remove it, or give {option} another name")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {path.absolute().parent}", remedy="make it first")


@contextmanager
def one_step(path: Path) -> Iterator[Path]:
    """A name to write under; the file gets its own name if the block ends well, and goes if it does not.

    Raises:
        ConfigError: somebody else made the file meanwhile.
        MachineError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield unfinished
        if publish(unfinished, path) == "exists":
            raise ConfigError(f"{path} is there already", remedy="remove it, or give another name")
    except PermissionError as error:
        raise MachineError(f"{path} cannot be written", found=error.strerror) from None
    finally:
        unfinished.unlink(missing_ok=True)
