"""Stores that somebody else made: nothing in them runs, and what is wrong is named."""

import json
from pathlib import Path

import pytest
from synthetic import noise, recording_of

import hrcallbacks as hr
from hrcallbacks.storage.array_metadata import array_checksum
from hrcallbacks.storage.checksums import signed

zarr = pytest.importorskip("zarr")
SHAPES = {"net/hidden/kernel": (3, 2), "net/hidden/bias": (2,)}


@pytest.fixture
def store(tmp_path):
    """A good store, to be tampered with."""
    arrays = {path: noise(4, *shape) for path, shape in SHAPES.items()}
    path = tmp_path / "run.zarr"
    recording = recording_of(arrays | {"net/hidden/bias:norm": noise(4)}, arrays)
    recording.save(path)
    assert hr.open_recording(path).paths == list(SHAPES)
    return path


def edit(store, change, array=""):
    """Changes what a group's or an array's `zarr.json` says, checksums and all."""
    file = store / array / "zarr.json"
    described = json.loads(file.read_text())
    change(described)
    if described["node_type"] == "group":
        described["attributes"] = signed(described["attributes"])
    else:
        chunks = described["chunk_grid"]["configuration"]["chunk_shape"]
        attributes = described["attributes"]
        attributes["checksum"] = array_checksum(
            array, described["data_type"], chunks, attributes
        )
    file.write_text(json.dumps(described))


def read_all(path):
    recording = hr.open_recording(path)
    norms = recording.arrays("gradients", "norm")["net/hidden/bias"]
    return recording.to_frame(), recording.has_gradient, norms


class Harm:
    """Pickled, makes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def pickled_array(folder, harm):
    """An array of Zarr format 2 that Python's pickle decodes."""
    import pickle

    folder.mkdir(parents=True)
    described = {
        "zarr_format": 2,
        "shape": [4, 3],
        "chunks": [4, 3],
        "dtype": "|O",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        # The first says what the objects are; the last decodes them first.
        "filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}],
    }
    (folder / ".zarray").write_text(json.dumps(described))
    (folder / ".zattrs").write_text("{}")
    (folder / "0.0").write_bytes(pickle.dumps(Harm(harm)))
    return described


def test_a_store_of_zarr_format_2_is_refused_and_runs_nothing(store, tmp_path):
    harm, other = tmp_path / "harm", tmp_path / "other.zarr"
    pickled_array(other / "epochs", harm)
    (other / ".zgroup").write_text('{"zarr_format": 2}')
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    (other / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(ValueError, match=r"other\.zarr' is a Zarr group of format 2"):
        hr.open_recording(other)
    assert not harm.exists()


def consolidate(group, **members):
    """Format 3 lets a group describe its members itself, in either format."""
    metadata = {"kind": "inline", "must_understand": False, "metadata": members}
    edit(group, lambda d: d.update(consolidated_metadata=metadata))


def test_what_a_store_says_of_an_array_of_format_2_is_not_looked_at(store, tmp_path):
    consolidate(store, epochs=pickled_array(store / "epochs", tmp_path / "harm"))
    assert hr.open_recording(store).paths == list(SHAPES)
    assert not (tmp_path / "harm").exists()


def test_an_index_of_zarr_format_2_is_refused_and_runs_nothing(store, tmp_path):
    (store / "loss").rename(tmp_path / "moved")
    loss = pickled_array(store / "loss", tmp_path / "harm")
    consolidate(store, loss=loss)
    with pytest.raises(ValueError, match=r"'loss' of .* is missing"):
        hr.open_recording(store)
    (store / "loss" / "zarr.json").write_text(json.dumps(loss))
    with pytest.raises(ValueError, match=r"'loss' of .*has Zarr format 2"):
        hr.open_recording(store)
    assert not (tmp_path / "harm").exists()


def gzipped(described):
    described["codecs"] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "gzip", "configuration": {"level": 1}},
    ]


@pytest.mark.parametrize(
    "array",
    [
        "gradients/raw/net/hidden/kernel",
        "gradients/norm/norm",
        "has_gradient/has_gradient",
        "loss",
    ],
)
def test_other_codecs_are_refused_with_the_arrays_name(store, array):
    edit(store, gzipped, array)
    with pytest.raises(ValueError, match=rf"'{array}' of .*has the codec 'gzip'"):
        read_all(store)


def test_text_in_place_of_numbers_is_refused(store):
    def text(described):
        described["data_type"] = {
            "name": "fixed_length_utf32",
            "configuration": {"length_bytes": 8},
        }
        described["fill_value"] = ""

    edit(store, text, "loss")
    with pytest.raises(ValueError, match=r"'loss' of .*holds .*fixed_length_utf32"):
        hr.open_recording(store)


def test_rows_of_another_shape_are_refused(store):
    def shorter(described):
        described["attributes"]["columns"][0]["shape"] = [2, 3]

    edit(store, shorter)
    with pytest.raises(ValueError, match=r"shape \(4, 3, 2\); its rows .* \(2, 3\)"):
        hr.open_recording(store).gradients["net/hidden/kernel"]


IMAGE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("attributes/variables/0/1", IMAGE, "variables'][0][1] should be a list"),
        ("attributes/variables/0/1/0", -1, "[0][1][0] should be a whole number"),
        ("attributes/variables/0/1/0", True, "[0][1][0] should be a whole number"),
        ("attributes/variables/0/0", 3, "variables'][0][0] should be text and is 3"),
        ("attributes/variables/0", ["a"], "variables'][0] should be a list of 2"),
        ("attributes/reductions", [], "attributes['reductions'] should be an object"),
        ("attributes/reductions/gradients/raw", 1, "['raw'] should be an object"),
        ("attributes/weights_at", IMAGE, "['weights_at'] should be 'before' or 'after"),
        ("attributes", None, "attributes should be an object and is None"),
        ("columns", {}, "columns should be a list and is {}"),
        ("columns/0/name", 1, "columns[0]['name'] should be a place in it"),
        ("columns/0/name", "../a", "columns[0]['name'] should be a place in it"),
        ("columns/0/name", "/etc", "columns[0]['name'] should be a place in it"),
        ("columns/0/keys/0", ["a", "b"], "['keys'][0] should be a list of 3"),
        ("columns/0/keys", [], "columns[0]['keys'] should be a list of one key"),
        ("columns/0/shape", [2.5, 2], "['shape'][0] should be a whole number"),
        ("columns/0/dtypes/0", "object", "['dtypes'][0] should be a type of numbers"),
        ("columns/0/dtypes/0", IMAGE, "['dtypes'][0] should be a type of numbers"),
        ("columns/0/dtypes", [], "columns[0]['dtypes'] should be a list of 1"),
        ("columns/4/shape", [9], "columns[4]['shape'] should be [1, ...] and is [9]"),
        ("fits/0/weights", [["a"]], "['weights'][0] should be a list of 4"),
        ("fits/0/first", "0", "fits[0]['first'] should be a whole number"),
        ("fits/0/ended", IMAGE, "fits[0]['ended'] should be true or false"),
        ("fits/0/fault", 1, "fits[0]['fault'] should be text or null"),
        ("fits/0/optimizers", None, "fits[0]['optimizers'] should be an object"),
    ],
)
def test_attributes_of_another_form_are_named(store, place, value, said):
    def change(described):
        *way, last = (
            int(step) if step.isdigit() else step for step in place.split("/")
        )
        at = described["attributes"]
        for step in way:
            at = at[step]
        at[last] = value

    edit(store, change)
    with pytest.raises(ValueError, match="did not write it: in its attributes") as told:
        hr.open_recording(store)
    assert said in str(told.value)
    assert str(store) in str(told.value)


@pytest.mark.parametrize("records", ["4", -1, 2.5, True])
def test_a_number_of_records_that_is_none_is_refused(store, records):
    edit(store, lambda d: d["attributes"].update(records=records), "index")
    with pytest.raises(ValueError, match=r"'records' should be a whole number"):
        hr.open_recording(store)


@pytest.mark.parametrize("column", [["loss"], ["loss", 3], [None, "loss"], "loss"])
def test_columns_of_the_index_without_name_or_place_are_refused(store, column):
    edit(store, lambda d: d["attributes"].update(columns=[column]), "index")
    with pytest.raises(ValueError, match=r"index .*columns\[0\].* should be"):
        hr.open_recording(store)


def test_an_index_without_steps_is_refused(store):
    def change(described):
        described["attributes"]["columns"][0][0] = "steps"

    edit(store, change, "index")
    with pytest.raises(ValueError, match=r"lacks \['step'\]"):
        hr.open_recording(store)


def test_places_outside_the_store_are_refused(store, tmp_path):
    def change(described):
        described["attributes"]["columns"][0][1] = "../other.zarr/step"

    edit(store, change, "index")
    (store / "step").rename(tmp_path / "other.zarr")
    with pytest.raises(ValueError, match=r"columns\[0\]\[1\] should be a place in it"):
        hr.open_recording(store)


@pytest.mark.parametrize("array", ["gradients/raw/net/hidden/kernel", "loss"])
def test_what_cannot_be_read_cannot_be_continued(store, tiny, line, array):
    edit(store, gzipped, array)
    recorder = hr.GradientRecorder(store=store, resume=True)
    with pytest.raises(ValueError, match=f"'{array}' of .*has the codec 'gzip'"):
        tiny.fit(*line, verbose=0, callbacks=[recorder])
