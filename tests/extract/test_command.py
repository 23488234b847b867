from pathlib import Path

from visual_thought.extract.command import remake_command
from visual_thought.extract.config import ExtractConfig


def test_a_command_names_what_was_asked_for_from_any_folder(tmp_path: Path) -> None:
    config = ExtractConfig("tabletop_cubes", tmp_path / "my store", features=("z", "r"))
    assert remake_command(config) == (
        f"vtt extract tabletop_cubes --store '{tmp_path}/my store' --backbone lerobot/xvla-base --features z,r"
    )


def test_only_what_differs_from_the_default_is_added(tmp_path: Path) -> None:
    config = ExtractConfig(
        "m",
        tmp_path,
        checkpoint_revision="abc",
        dtype="fp32",
        store_format="hdf5",
        batch_size=4,
        device="cuda",
        progress=False,
    )
    words = "--revision abc --features z,r --dtype fp32 --store-format hdf5 --batch-size 4"
    assert remake_command(config).endswith(words)
    assert "cuda" not in remake_command(config)


def test_paths_become_absolute(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("manifest.yaml").touch()
    Path("xvla").mkdir()
    command = remake_command(ExtractConfig("manifest.yaml", Path("store"), checkpoint="../" + tmp_path.name + "/xvla"))
    assert command == (
        f"vtt extract {tmp_path}/manifest.yaml --store {tmp_path}/store --backbone {tmp_path}/xvla --features z,r"
    )
