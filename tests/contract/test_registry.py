"""Images of adapters and data against a real registry."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from kaito.clock import wall_clock
from kaito.images import parse_image
from kaito.oci.__main__ import main as oci_main
from kaito.oci.errors import ImageRejected
from kaito.oci.pull import pull as pull_path
from kaito.oci.push import MODEL_ANNOTATION, push
from kaito.oci.registry import Client, credentials_for, sha256_of
from kaito.tuning import push as pusher
from kaito.tuning.checkpoints import CheckpointKeeper, checkpoint_image, restore
from kaito.tuning.errors import EXIT_CONFIG, EXIT_STOPPED, ConfigError, TuningError
from kaito.tuning.folder import OutputFolder
from kaito.tuning.restore import main as restore_main
from tests.contract.registry import HTPASSWD, docker_config, running_registry

LIMIT = 1 << 30


def pull(text: str, folder: Path, secrets: list[Path], *, bytes_max: int) -> list[Path]:
    return pull_path(text, folder, secrets, path="data", bytes_max=bytes_max)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(bytes(3_000_000))
    (folder / "README.md").write_text("An adapter.")
    return folder


def manifest_of(registry: str, name: str, reference: str) -> dict[str, object]:
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    found: dict[str, object] = requests.get(f"http://{registry}/v2/{name}/manifests/{reference}", headers=accept).json()
    return found


def test_all_files_of_an_adapter_go_out_and_come_back(registry: str, adapter: Path, tmp_path: Path) -> None:
    files = sorted(adapter.iterdir())
    digest = push(f"{registry}/org/a:1", adapter, files, [], annotations={MODEL_ANNOTATION: "phi-4"})
    found = pull(f"{registry}/org/a:1", tmp_path / "back", [], bytes_max=LIMIT)
    assert [path.name for path in found] == [path.name for path in files]
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in files]
    assert pull(f"{registry}/org/a@{digest}", tmp_path / "again", [], bytes_max=LIMIT)
    manifest = manifest_of(registry, "org/a", "1")
    assert manifest["annotations"] == {MODEL_ANNOTATION: "phi-4"}
    assert not list(adapter.glob(".push-*"))


def test_the_same_files_make_the_same_layer(registry: str, adapter: Path) -> None:
    for tag in ("1", "2"):
        push(f"{registry}/org/same:{tag}", adapter, sorted(adapter.iterdir()), [], annotations={})
    one, two = (manifest_of(registry, "org/same", tag)["layers"] for tag in ("1", "2"))
    assert one == two


def test_credentials_come_from_the_secret_that_names_the_registry(tmp_path: Path, adapter: Path) -> None:
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry", htpasswd=HTPASSWD) as address:
        right = docker_config(tmp_path / "right", address)
        wrong = docker_config(tmp_path / "wrong", address, password="no")
        elsewhere = docker_config(tmp_path / "elsewhere", "ghcr.io")
        push(f"{address}/a:1", adapter, sorted(adapter.iterdir()), [elsewhere, wrong, right], annotations={})
        assert len(pull(f"{address}/a:1", tmp_path / "back", [wrong, right], bytes_max=LIMIT)) == 3
        for secrets, tried in (([], 0), ([elsewhere], 0), ([wrong], 1)):
            message = f"refuses to pull it .*; {tried} of the given Secrets name {address}: name a Secret of the type"
            with pytest.raises(ImageRejected, match=message):
                pull(f"{address}/a:1", tmp_path / "none", secrets, bytes_max=LIMIT)
        with pytest.raises(ImageRejected, match="refuses to push it"):
            push(f"{address}/a:2", adapter, sorted(adapter.iterdir()), [wrong], annotations={})


def test_what_is_not_there_is_said(registry: str, tmp_path: Path, adapter: Path) -> None:
    with pytest.raises(ImageRejected, match=r"org/none:1: not found in the registry \(status 404\)"):
        pull(f"{registry}/org/none:1", tmp_path, [], bytes_max=LIMIT)
    with pytest.raises(ImageRejected, match="is not the name of an image"):
        pull(f"{registry}/Org/None:1", tmp_path, [], bytes_max=LIMIT)
    push(f"{registry}/org/big:1", adapter, sorted(adapter.iterdir()), [], annotations={})
    with pytest.raises(ImageRejected, match="and 100 are the limit"):
        pull(f"{registry}/org/big:1", tmp_path / "big", [], bytes_max=100)
    with pytest.raises(ImageRejected, match="unpacks to more than the limit"):
        pull(f"{registry}/org/big:1", tmp_path / "big", [], bytes_max=1_000_000)


def layered(registry: str, name: str, *layers: bytes) -> None:
    """Puts an image of these layers, as `docker build` would make it, into the registry."""
    client = Client(parse_image(f"{registry}/{name}"), "")
    entries = []
    for layer in (b"{}", *layers):
        digest = sha256_of(layer)
        started = client.do_request(f"{client.base}/blobs/uploads/", "POST")
        target = started.headers["Location"] + f"&digest={digest}"
        requests.put(target, data=layer, headers={"Content-Type": "application/octet-stream"}).raise_for_status()
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        entries.append({"mediaType": kind, "digest": digest, "size": len(layer)})
    config, *rest = entries
    manifest = {"schemaVersion": 2, "config": {**config, "mediaType": "application/json"}, "layers": rest}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    body = json.dumps({**manifest, "mediaType": kind}).encode()
    answer = client.do_request(f"{client.base}/manifests/1", "PUT", data=body, headers={"Content-Type": kind})
    assert answer.status_code == 201, answer.text


def tar_of(members: dict[str, bytes | str]) -> bytes:
    """A gzipped tar; a text is the target of a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, value in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(value, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, value
                archive.addfile(entry)
            else:
                entry.size = len(value)
                archive.addfile(entry, io.BytesIO(value))
    return buffer.getvalue()


def test_layers_are_laid_over_each_other_and_only_data_comes_out(registry: str, tmp_path: Path) -> None:
    first = tar_of({"bin/sh": b"x", "./data/a.csv": b"old", "data/b.csv": b"b", "data/sub/c.csv": b"c"})
    second = tar_of({"data/a.csv": b"new", "data/.wh.b.csv": b""})
    layered(registry, "org/layers", first, second)
    found = pull(f"{registry}/org/layers:1", tmp_path / "to", [], bytes_max=LIMIT)
    assert {str(path.relative_to(tmp_path / "to")): path.read_bytes() for path in found} == {
        "a.csv": b"new",
        "sub/c.csv": b"c",
    }


def test_nothing_leaves_the_folder(registry: str, tmp_path: Path) -> None:
    layer = tar_of({"data/../../evil": b"x", "data/link": "/etc", "data/link/evil": b"x", "data/ok": b"ok"})
    layered(registry, "org/evil", layer)
    found = pull(f"{registry}/org/evil:1", tmp_path / "in" / "to", [], bytes_max=LIMIT)
    assert sorted(str(path.relative_to(tmp_path / "in" / "to")) for path in found) == ["link/evil", "ok"]
    assert not Path("/etc/evil").exists() and not (tmp_path / "evil").exists()


def test_a_whole_image_comes_out_where_no_path_is_named(registry: str, tmp_path: Path) -> None:
    layered(registry, "org/whole", tar_of({"./weights/a.bin": b"a", "config.json": b"{}"}))
    command = ["pull", f"--image={registry}/org/whole:1", f"--into={tmp_path / 'to'}"]
    assert oci_main(command) == 0
    assert (tmp_path / "to" / "weights" / "a.bin").read_bytes() == b"a"
    assert (tmp_path / "to" / "config.json").read_bytes() == b"{}"
    assert oci_main([*command[:1], "--image=A", *command[2:]]) == 2


def test_an_image_without_data_says_where_it_was_looked_for(registry: str, tmp_path: Path) -> None:
    layered(registry, "org/nothing", tar_of({"bin/sh": b"x"}))
    with pytest.raises(ImageRejected, match="nothing under /data in the image"):
        pull(f"{registry}/org/nothing:1", tmp_path / "to", [], bytes_max=LIMIT)


def test_a_hubs_credentials_are_found_under_its_old_names(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    entry = {"username": "u", "password": "p"}
    path.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": entry, "ghcr.io": {"auth": "x"}}}))
    assert credentials_for(parse_image("org/a"), [path]) == ["dTpw"]
    assert credentials_for(parse_image("ghcr.io/org/a"), [path]) == ["x"]
    path.write_text("[]")
    with pytest.raises(ImageRejected, match="not a docker configuration"):
        credentials_for(parse_image("org/a"), [path])


def test_the_pusher_waits_for_the_marker_and_takes_all_files(registry: str, adapter: Path, tmp_path: Path) -> None:
    folder = OutputFolder(adapter)
    (adapter / "checkpoint-5").mkdir()
    folder.append_progress({"step": 1})
    arguments = ["--output-dir", str(adapter), "--image", f"{registry}/org/pushed:1", "--model", "phi-4"]
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(pusher.main(arguments)))
    waiting.start()
    folder.complete(wall_clock())
    waiting.join(30)
    assert statuses == [0]
    found = pull(f"{registry}/org/pushed:1", tmp_path / "back", [], bytes_max=LIMIT)
    assert [path.name for path in found] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    annotations = manifest_of(registry, "org/pushed", "1")["annotations"]
    assert isinstance(annotations, dict) and annotations[MODEL_ANNOTATION] == "phi-4"


def test_the_pusher_ends_with_the_trainers_reason(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    folder.fail("RuntimeError", "a crash that another attempt may mend", 1, wall_clock())
    looks: list[float] = []

    def fail_for_good(seconds: float) -> None:
        looks.append(seconds)
        folder.fail("ConfigError", "train.jsonl:3: text is null", EXIT_CONFIG, wall_clock())

    with pytest.raises(ConfigError, match=r"the trainer failed: train.jsonl:3: text is null"):
        pusher.wait_completed(folder, silence_max_s=10, sleep=fail_for_good)
    assert len(looks) == 1


def test_the_pusher_does_not_wait_for_ever(tmp_path: Path) -> None:
    times = iter(range(0, 100_000, 3600))
    with pytest.raises(TuningError, match=r"no sign in .* for 2.0 hours"):
        pusher.wait_completed(
            OutputFolder(tmp_path), silence_max_s=7200, sleep=lambda _: None, monotonic=lambda: next(times)
        )


def a_checkpoint(folder: OutputFolder, step: int) -> None:
    """What a trainer leaves: the state file last, so that a checkpoint is whole once it is there."""
    path = folder.path / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "optimizer.pt").write_bytes(bytes([step]) * 1000)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))


def test_a_checkpoint_comes_back_in_the_next_pod_and_never_over_newer_work(registry: str, tmp_path: Path) -> None:
    image = f"{registry}/org/kept:1"
    gone, fresh = OutputFolder(tmp_path / "gone"), OutputFolder(tmp_path / "fresh")
    assert restore(fresh, image, []) == 0  # there is none yet
    gone.open_run("mark")
    gone.append_progress({"step": 5, "loss": 1.0})
    clock = iter((0.0, 0.0, 1.0, 2.0, 9.0, 9.0)).__next__
    keeper = CheckpointKeeper(gone, image, [], every_s=5, monotonic=clock)
    keeper.keep()
    assert keeper.kept_step == 0  # nothing to keep
    a_checkpoint(gone, 5)
    keeper.keep()
    a_checkpoint(gone, 7)
    keeper.keep()
    assert keeper.kept_step == 5  # not yet
    keeper.keep(is_last=True)
    assert keeper.kept_step == 7
    assert restore(fresh, image, []) == 7
    assert (fresh.path / "checkpoint-7" / "deep" / "optimizer.pt").read_bytes() == bytes([7]) * 1000
    assert (fresh.checkpoints()[-1][0], fresh.progress()) == (7, [{"step": 5, "loss": 1.0}])
    fresh.open_run("mark")
    assert [step for step, _ in fresh.checkpoints()] == [7]  # the same run goes on
    a_checkpoint(fresh, 9)
    assert restore(fresh, image, []) == 0  # a container that starts again has its own
    fresh.open_run("another")
    assert fresh.checkpoints() == []  # another configuration, model or data begins anew


def test_without_a_registry_the_run_does_not_begin_and_a_run_that_has_begun_goes_on(tmp_path: Path) -> None:
    folder, nowhere = OutputFolder(tmp_path), "127.0.0.1:9/org/a:1"
    assert restore_main(["--output-dir", str(tmp_path / "x"), "--image", nowhere]) == 1
    folder.open_run("mark")
    a_checkpoint(folder, 3)
    keeper = CheckpointKeeper(folder, nowhere, [])
    keeper.keep()
    assert keeper.kept_step == 0


def test_the_pusher_that_is_told_to_stop_keeps_the_trainers_last_checkpoint(registry: str, tmp_path: Path) -> None:
    folder, told = OutputFolder(tmp_path / "out"), pusher.Told()
    folder.open_run("mark")
    told()
    a_checkpoint(folder, 4)
    folder.stop(wall_clock())
    arguments = ["--output-dir", str(folder.path), "--image", f"{registry}/org/told:1"]
    assert pusher.main(arguments, told) == EXIT_STOPPED
    assert restore(OutputFolder(tmp_path / "next"), f"{registry}/org/told:1", []) == 4


def test_a_checkpoints_tag_is_one_that_a_registry_takes() -> None:
    assert checkpoint_image("org/a") == "docker.io/org/a:latest-checkpoint"
    assert parse_image(checkpoint_image(f"r.io/a:{'t' * 128}")).tag == "t" * 117 + "-checkpoint"
