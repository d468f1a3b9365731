"""The manifest's definition for the host, beside the checks by hand that the device makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_artifact import make_artifact

from edgegnn.errors import ArtifactError
from edgegnn.manifest import ArtifactManifest, manifest_schema, typed_manifest
from edgegnn.runtime import manifest as device
from edgegnn.runtime import read_manifest
from edgegnn.runtime.extent import parse_extent
from edgegnn.runtime.ranges import parse_ranges

# What the export writes beside the tiny artifact's own fields, so that the device's checks read every part.
MORE = {
    "target": "classes",
    "runtime": "onnxruntime",
    "limits": {"least_nodes": 1},
    "ranges": [{"tensor": "h", "low": -1.0, "high": 1.0, "zero": 0, "file": "model.onnx", "share": 0.1, "row": 0.1}],
    "extent": {"nodes": 20, "degree": 9, "values": {"x": 3.0}},
}


class Watched(dict[str, Any]):
    """An object of the manifest that fails when a key is asked for that its schema doesn't have."""

    known: set[str] | None = None

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(self.asked(key))

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(self.asked(key), default)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self.asked(key))

    def asked(self, key: Any) -> Any:
        assert self.known is None or key in self.known, f"the device reads {key!r}, which the definition doesn't have"
        return key


def watched(value: Any, schema: dict[str, Any], parts: dict[str, Any]) -> Any:
    """The value with every object in it watched."""
    for choice in schema.get("anyOf", [schema]):
        part = parts[choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice
        if isinstance(value, list) and "items" in part:
            return [watched(entry, part["items"], parts) for entry in value]
        if isinstance(value, dict) and part.get("type") == "object":
            fields, other = part.get("properties", {}), part.get("additionalProperties", {})
            other = other if isinstance(other, dict) else {}
            found = Watched({key: watched(entry, fields.get(key, other), parts) for key, entry in value.items()})
            found.known = set(fields) if fields else None
            return found
    return value


def test_the_device_reads_only_keys_of_the_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (make_artifact(tmp_path / "tiny", **MORE) / "manifest.json").read_bytes()
    schema = json.loads(manifest_schema())
    raw = watched(json.loads(content), schema, schema["$defs"])
    raw.known.add("manifest_sha256")  # of the file, not of what it says
    monkeypatch.setattr(device, "_decode", lambda _: raw)
    monkeypatch.setattr(device, "intact", lambda *_: True)
    parsed = device.parse_manifest(content)
    assert parsed.name == "tiny"
    assert parse_ranges(raw)
    assert parse_extent(raw) is not None
    with pytest.raises(AssertionError, match="the device reads 'shapes'"):
        raw["inputs"][0]["shapes"]


def test_what_the_definition_writes_the_device_accepts(tmp_path: Path) -> None:
    read = read_manifest(make_artifact(tmp_path / "tiny", **MORE))
    written = json.dumps(device.seal_manifest(typed_manifest(read.raw).to_dict())).encode()
    again = device.parse_manifest(written)
    parts = ("inputs", "outputs", "files", "samples", "agreement", "samples_metric", "limits", "max_abs_error")
    assert [getattr(again, part) for part in parts] == [getattr(read, part) for part in parts]
    assert parse_ranges(again.raw) == parse_ranges(read.raw)


def test_older_and_newer_manifests_are_read(tmp_path: Path) -> None:
    """Keys that came later have defaults, keys that are still to come are ignored, {} was a float artifact's."""
    raw = read_manifest(make_artifact(tmp_path / "tiny")).raw
    manifest = typed_manifest({**raw, "against_float": {}, "colour": "green", "files": {}})
    assert isinstance(manifest, ArtifactManifest)
    assert (manifest.runtime, manifest.against_float, manifest.entries, manifest.files) == ("onnxruntime", None, [], {})
    assert manifest.metric.artifact == manifest["metric"]["artifact"]
    assert "colour" not in manifest.to_dict()


def test_damage_is_named(tmp_path: Path) -> None:
    raw = read_manifest(make_artifact(tmp_path / "tiny")).raw
    with pytest.raises(ArtifactError, match=r"parity\.graphs"):
        typed_manifest({**raw, "parity": {**raw["parity"], "graphs": "many"}})
