import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreIncomplete
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.completeness import refuse_partial

from .maintained import COMMAND, a_store, array_of, extract
from .toys import a_spec, flip, some_frames


def test_a_whole_feature_passes(tmp_path):
    refuse_partial(a_store(tmp_path / "store"), "z")


def test_a_partly_extracted_feature_is_named_with_its_share_and_what_to_do(tmp_path):
    store = a_store(tmp_path / "store")
    with pytest.raises(StoreIncomplete) as error:
        refuse_partial(store, "e")
    said = str(error.value)
    assert f"only partly extracted: 172 of 300 rows of {a_spec('e').key} (57%)" in said
    assert "1 part missing, with rows of lab/cubes episodes 1–2" in said
    assert f"`{COMMAND}`" in said
    assert "--allow-partial" in said


def test_nearly_all_is_not_all(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, table=some_frames(128 * 200 + 1), parts=range(200), info={})
    with pytest.raises(StoreIncomplete, match=r"\(99%\)[\s\S]*episode 256[\s\S]*`vtt extract`"):
        refuse_partial(store, "z")


def test_damage_is_not_mistaken_for_what_is_missing(tmp_path):
    store = a_store(tmp_path / "store")
    flip(array_of(store, "e").receipt_path(0), 300)
    with pytest.raises(StoreCorrupt):
        refuse_partial(store, "e")
