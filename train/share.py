"""Sharing a run: its checkpoint and its card in a model repository on the Hugging Face Hub."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pipeline.errors import ConfigError, MachineError, MissingDependency, VisualThoughtError
from ..pipeline.store.hub import ask_hub
from ..pipeline.store.listing import readable_bytes
from ..pipeline.store.remote import Patience
from .card import FILE
from .export import export, is_own_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_CONTROL = re.compile(r"controls/[\w.-]+\.safetensors")


@dataclass(frozen=True)
class Shared:
    """What :func:`push` did.

    Args:
        repo_id: ``owner/name``.
        files: what was uploaded, or would be, and its bytes.
        dry_run: whether nothing was uploaded.
        commit: the commit on the Hub.
        card_kept: whether somebody's own card there was left as it is.
    """

    repo_id: str
    files: dict[str, int]
    dry_run: bool
    commit: str | None = None
    card_kept: bool = False

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        said = {"repo_id": self.repo_id, "dry_run": self.dry_run, "commit": self.commit, "card_kept": self.card_kept}
        return said | {"bytes": sum(self.files.values()), "files": self.files}

    def render(self) -> str:
        """The same for people."""
        verb = "would go" if self.dry_run else "went"
        size = readable_bytes(sum(self.files.values()))
        lines = [f"{len(self.files)} files, {size}, {verb} to the model repository {self.repo_id}"]
        lines += [f"  {readable_bytes(count):>9}  {name}" for name, count in self.files.items()]
        lines += ["the card that is there was written by somebody and stays"] if self.card_kept else []
        return "\n".join([*lines, *([] if self.dry_run else [f"commit {self.commit}"])])


def push(
    run_dir: Path,
    repo_id: str,
    *,
    checkpoint: str = "best",
    private: bool = False,
    dry_run: bool = False,
    api: "HfApi | None" = None,
    patience: Patience | None = None,
) -> Shared:
    """Upload what reloads a run, in one commit: the repository holds the old run or the new one, never a mixture.

    Args:
        run_dir: the run folder, or one checkpoint.
        repo_id: ``owner/name`` of a model repository; made if it is not there.
        checkpoint: ``best``, ``last`` or a step.
        private: for a repository that is made by this call.
        dry_run: only say what would be uploaded; no network is used.
        api: the client; None is one for the Hub of the environment, with the token that the user is logged in with.
        patience: how often the Hub is asked again.

    Raises:
        ConfigError: no repository can be named so; no run, no such checkpoint.
        WeightsError: the checkpoint is damaged.
        MachineError: the Hub does not answer or does not let us in; the run is as it was.
    """
    refuse_repo_name(repo_id)
    files = export(run_dir, checkpoint, name=repo_id)
    sizes = {name: len(data) for name, data in files.items()}
    if dry_run:
        return Shared(repo_id, sizes, dry_run=True)
    try:
        return _Upload(repo_id, api or _client(), patience or Patience()).run(files, private=private)
    except VisualThoughtError as error:
        raise MachineError(
            f"the upload to {repo_id} failed; the run in {run_dir} is whole",
            found=f"{error.problem}{f' ({error.found})' if error.found else ''}",
            remedy=f"{error.remedy + ', then ' if error.remedy else ''}vtt push {run_dir} {repo_id}"
            + (" --private" if private else "")
            + (f" --checkpoint {checkpoint}" if checkpoint != "best" else ""),
        ) from None


def refuse_repo_name(repo_id: str) -> None:
    """ConfigError unless a repository can be named so; asked before a training, not after it."""
    if not _NAME.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or repo_id.endswith((".git", ".", "-")):
        raise ConfigError("no model repository can be named so", found=repo_id, expected="OWNER/NAME")


class _Upload:
    """One push to one repository."""

    def __init__(self, repo_id: str, api: "HfApi", patience: Patience) -> None:
        self._repo, self._api, self._patience = repo_id, api, patience

    def run(self, files: dict[str, bytes], *, private: bool) -> Shared:
        self._ask("create_repo", repo_type="model", private=private, exist_ok=True)
        there = self._ask("list_repo_files", repo_type="model")
        kept = FILE in there and not is_own_card(self._card())
        sent = {name: data for name, data in files.items() if not (kept and name == FILE)}
        gone = [name for name in there if _CONTROL.fullmatch(name) and name not in sent]
        commit = self._commit(sent, gone)
        return Shared(self._repo, {name: len(data) for name, data in sent.items()}, False, commit, kept)

    def _commit(self, files: dict[str, bytes], gone: list[str]) -> str:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations = [*(CommitOperationAdd(*file) for file in files.items()), *map(CommitOperationDelete, gone)]
        done = self._ask(
            "create_commit", operations=operations, commit_message="Upload a run with vtt push", repo_type="model"
        )
        return str(done.oid)

    def _card(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="visual-thought-") as folder:
            path = self._ask("hf_hub_download", filename=FILE, repo_type="model", cache_dir=folder)
            return Path(path).read_bytes()

    def _ask(self, call: str, **options: Any) -> Any:
        method = getattr(self._api, call)
        return ask_hub(lambda: method(self._repo, **options), url=f"hf://{self._repo}", patience=self._patience)


def _client() -> "HfApi":
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingDependency("a push needs huggingface_hub", remedy="pip install huggingface-hub") from error
    return HfApi()
