"""The store writes whole files or none, and notices damage."""

import json
import os
import pathlib
import tempfile
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.specification import digest
from simulator.studies.store import FORMAT, CorruptFileWarning, Store, StoreError

SPEC = '{"what":"a run"}'
NAME = digest(SPEC)
RESULT = {"loss": 0.1 + 0.2, "steps": 3, "validation_losses": [1.0, None, 1e-300]}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "runs")
    made.open()
    made.write(SPEC, RESULT, {"seconds": 1.5})
    return made


def test_a_result_comes_back_to_the_bit(store):
    assert store.read(SPEC) == RESULT
    assert store.read("other") is None
    again = Store(store.path)
    again.open()
    assert again.read(SPEC) == RESULT


def test_nothing_but_finished_files_is_left(store):
    names = [path.name for path in store.path.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(["store.json", f"{NAME}.json"])


def test_a_file_says_how_it_came_about(store):
    about = json.loads(store.file(SPEC).read_text())["about"]
    assert about["seconds"] == 1.5
    assert {"python", "jax", "machine"} <= set(about)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_is_noticed_and_the_file_put_aside(position, bit):
    """The flip may fall in the result, its spec or its checksum. The part about the run's origin is not covered."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(pathlib.Path(folder) / "runs")
        store.open()
        store.write(SPEC, RESULT, {})
        path = store.file(SPEC)
        data = bytearray(path.read_bytes())
        end = data.index(b'"about"')
        data[position % end] ^= 1 << bit
        path.write_bytes(bytes(data))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = store.read(SPEC)
        # A flip in the white space between tokens may leave the content as it was; anything else must not be believed.
        assert found in (None, RESULT)
        if found is None:
            assert caught[0].category is CorruptFileWarning
            assert not path.exists()
            assert path.with_name(f"{path.name}.corrupt").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_put_aside_with_a_warning_and_made_again(store, share):
    path = store.file(SPEC)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.warns(CorruptFileWarning, match=r"is damaged .* renamed to .*\.corrupt and the run will be made again"):
        assert store.read(SPEC) is None
    store.write(SPEC, RESULT, {})
    assert store.read(SPEC) == RESULT


def test_a_file_of_another_spec_is_not_believed(store):
    store.file("other").parent.mkdir(exist_ok=True)
    store.file("other").write_bytes(store.file(SPEC).read_bytes())
    with pytest.warns(CorruptFileWarning, match="holds another spec"):
        assert store.read("other") is None


def test_a_store_of_another_format_is_refused(store):
    (store.path / "store.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(StoreError, match=f"format {FORMAT + 1}, this version reads and writes {FORMAT}: name another"):
        store.open()


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", "\udcff"])
def test_a_damaged_marker_is_refused(store, content):
    (store.path / "store.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StoreError, match=r"store\.json is damaged .*name another folder"):
        store.open()


def test_a_folder_of_other_things_is_not_taken_for_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="neither empty nor a store of runs"):
        Store(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="cannot use the store"):
        Store(tmp_path / "runs").open()


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_no_half_file(store, monkeypatch, failing):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    if failing == "write":
        monkeypatch.setattr(pathlib.Path, "open", full)
    elif failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(StoreError, match=r"cannot write .*No space left on device.*free space or name a writable"):
        store.write("new", {}, {})
    monkeypatch.undo()
    assert store.read(SPEC) == RESULT
    assert store.read("new") is None
    assert not list(store.path.rglob("*.tmp.*"))


def test_a_store_whose_making_was_interrupted_can_be_made(tmp_path):
    """A process killed between the folder and its marker, or another one making the same store at this moment."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "store.json.tmp.123.abcd").write_text("")
    Store(tmp_path / "runs").open()
    assert Store(tmp_path / "runs").check()


def test_a_left_over_temporary_file_is_ignored(store):
    store.file(SPEC).with_name(f"{NAME}.json.tmp.1").write_text("{half")
    assert store.read(SPEC) == RESULT
