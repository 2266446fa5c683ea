"""What a container sees of its volumes."""

from __future__ import annotations

from pathlib import Path

import anyio

from kaito.local.kubelet.references import Reference
from kaito.local.kubelet.sandbox import Roots, Sandbox, rewrite


async def nothing(_: object) -> None:
    return None


def test_a_folder_that_holds_mounts_lists_them(tmp_path: Path) -> None:
    """A model server looks through /mnt/adapter, which is no mount itself."""
    container = {
        "name": "server",
        "volumeMounts": [
            {"name": "one", "mountPath": "/mnt/adapter/one"},
            {"name": "two", "mountPath": "/mnt/adapter/two"},
            {"name": "top", "mountPath": "/mnt/data"},
        ],
    }
    volumes = [{"name": name, "emptyDir": {}} for name in ("one", "two", "top")]
    meta = {"namespace": "default", "name": "p", "uid": "u"}
    pod = {"metadata": meta, "spec": {"containers": [container], "volumes": volumes}}
    sandbox = Sandbox(Roots(tmp_path / "pods", tmp_path / "machines", tmp_path / "claims"), pod)
    sandbox.make()

    async def make() -> None:
        await sandbox.make_volumes(nothing, "127.0.0.1")

    anyio.run(make)
    mounts = sandbox.mounts(container)
    again = sandbox.mounts(container)  # a restarted container sees the same
    assert mounts == again
    (Path(rewrite("/mnt/adapter/one", mounts)) / "adapter_config.json").write_text("{}")
    folder = Path(rewrite("--dir=/mnt/adapter", mounts).removeprefix("--dir="))
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["one", "two"]
    assert (folder / "one" / "adapter_config.json").read_text() == "{}"
    assert rewrite("/mnt", mounts) == "/mnt" and rewrite("/mnt/adapters", mounts) == "/mnt/adapters"


def test_secrets_of_a_projected_volume_lie_where_their_items_say(tmp_path: Path) -> None:
    """Registry credentials: one file of each Secret, all in one folder."""
    sources = [
        {"secret": {"name": name, "items": [{"key": ".dockerconfigjson", "path": f"{name}/config.json"}]}}
        for name in ("one", "two")
    ]
    volumes = [{"name": "auth", "projected": {"sources": sources}}, {"name": "whole", "secret": {"secretName": "one"}}]
    meta = {"namespace": "default", "name": "p", "uid": "u"}
    sandbox = Sandbox(Roots(tmp_path / "pods", tmp_path, tmp_path), {"metadata": meta, "spec": {"volumes": volumes}})
    sandbox.make()

    async def read(reference: Reference) -> dict[str, bytes]:
        return {".dockerconfigjson": reference.name.encode()}

    async def make() -> None:
        await sandbox.make_volumes(read, "127.0.0.1")

    anyio.run(make)
    found = {str(path.relative_to(sandbox.path / "volumes")): path.read_text() for path in _files(sandbox.path)}
    assert found == {
        "auth/one/config.json": "one",
        "auth/two/config.json": "two",
        "whole/.dockerconfigjson": "one",
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
