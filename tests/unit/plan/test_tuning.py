"""Tuning Workspaces: what may be asked, the Job that comes of it, and how its life is told."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest

from kaito.api.meta import Json, ObjectRef
from kaito.api.workloads import JOB
from kaito.api.workspace import Workspace, parse_workspace
from kaito.plan.actions import Create, Delete, Emit, PatchStatus, Read
from kaito.plan.training import Progress, parse_progress
from kaito.plan.validate import NothingKnown, errors_of, validate
from kaito.plan.validate import tuning as rules
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from kaito.tuning import config as trainer
from tests.builders import (
    SKU,
    World,
    at,
    condition,
    config_map,
    container_status,
    job,
    moment,
    node,
    node_claim,
    pod,
    tuning_workspace,
)
from tests.unit.plan.applier import Applier, numbered

REF = ObjectRef("Workspace", "default", "phi")
JOB_REF = JOB.ref("default", "phi")
SETTINGS = PlanSettings()
LIFECYCLE = ("Launched", "Registered", "Initialized", "Ready")
PROGRESS = {"event": "tuning progressed", "step": 40, "steps": 120, "epoch": 1.0, "loss": 0.5, "eta_s": 200.0}
IMAGES: Json = {
    "input": {"image": "ghcr.io/org/data:1", "imagePullSecrets": ["pull"]},
    "output": {"image": "ghcr.io/org/adapter:1", "imagePushSecret": "push"},
}


class Life:
    """A tuning Workspace whose nodes are ready."""

    def __init__(self, *bodies: Json, **ws: Any) -> None:
        self.world = World(tuning_workspace(**ws), *bodies)
        numbered(self.world, REF, SETTINGS)
        self.applier = Applier(self.world)
        self.act(1)
        for body in [body for ref, body in self.world.bodies.items() if ref.kind == "NodeClaim"]:
            status = {"nodeName": "n1", "conditions": [condition(each, since=2) for each in LIFECYCLE]}
            self.world.put(node_claim(body["metadata"]["name"]) | {"metadata": body["metadata"], "status": status})
            type_ = ws.get("instance_type", SKU)
            gpus = 2 if "NC48" in type_ else 1
            self.world.put(node("n1", labels={"apps": "phi"}, gpus=gpus, instance_type=type_))

    def act(self, now_s: float) -> list[Any]:
        plan = plan_workspace(self.world, REF, moment(now_s), SETTINGS)
        self.applier.run(plan, moment(now_s))
        return list(plan.actions)

    def settle(self, now_s: float) -> list[Any]:
        actions: list[Any] = []
        while more := self.act(now_s):
            actions += more
        return actions

    @property
    def status(self) -> Json:
        found: Json = self.world.bodies[REF].get("status") or {}
        return found

    def condition(self, type_: str) -> tuple[str, str, str]:
        found = next(item for item in self.status["conditions"] if item["type"] == type_)
        return found["status"], found["reason"], found["message"]

    def run_pod(self, *statuses: Json, **more: Any) -> None:
        defaults = {"node": "n1", "phase": "Running", "statuses": statuses or [container_status(running=True)]}
        self.world.put(pod("phi-abc", **(defaults | more)))

    def end_job(self, type_: str, message: str = "") -> None:
        body = self.world.bodies[JOB_REF]
        ended = condition(type_, message=message, since=50)
        self.world.put(body | {"status": {"conditions": [ended]}})


def the_job(**ws: Any) -> Json:
    life = Life(**ws)
    life.settle(5)
    body: Json = life.world.bodies[JOB_REF]
    return body


# What may be asked.


def errors(**tuning: Any) -> tuple[str, ...]:
    found = validate(tuning_workspace(tuning=tuning), None, NothingKnown(), PlanSettings())
    return tuple(str(each) for each in errors_of(found))


def test_what_is_right_passes() -> None:
    assert errors() == errors(**IMAGES) == errors(method="QLoRA") == ()


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"preset": None}, "tuning.preset: missing"),
        ({"method": "full"}, "tuning.method: 'full': expected lora or qlora"),
        ({"input": {}}, "tuning.input: expected exactly one of urls, image and volumeSource, found none"),
        (
            {"input": {"urls": ["https://a.io/x"], "image": "a"}},
            "tuning.input: expected .*found urls, image",
        ),
        ({"input": {"urls": ["ftp://a.io/x"]}}, r"tuning.input.urls\[0\]: .*expected http or https, found ftp"),
        ({"input": {"urls": ["http://10.0.0.1/x"]}}, r"tuning.input.urls\[0\]: .*10.0.0.1 is not a public address"),
        ({"input": {"urls": ["http://localhost/x"]}}, "localhost is this machine"),
        ({"input": {"urls": ["http://metadata.google.internal/"]}}, "is a metadata service"),
        ({"input": {"urls": ["https:///x"]}}, "the URL names no host"),
        ({"input": {"image": "No Image"}}, "tuning.input.image: 'No Image' is not the name of an image"),
        ({"output": {}}, "tuning.output: expected exactly one of image and volumeSource, found none"),
        ({"output": {"image": "a:1"}}, "tuning.output.imagePushSecret: missing"),
        ({"output": {"image": "A", "imagePushSecret": "s"}}, "tuning.output.image: 'A' is not the name"),
        ({"output": {"image": "a", "imagePushSecret": "s", "volumeSource": {"emptyDir": {}}}}, "found both"),
    ],
)
def test_what_is_wrong_is_named_by_field(tuning: Json, message: str) -> None:
    import re

    [found] = errors(**tuning)
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ({"count": 2}, "resource.count: 2: tuning runs on one node"),
        ({"partition": {"mode": "accelerator", "count": 1}}, "resource.partition: not supported with tuning"),
    ],
)
def test_tuning_runs_on_one_whole_node(resource: Json, message: str) -> None:
    life = Life(resource=resource)
    life.settle(5)
    assert message in life.status["blockers"][0]["message"]


@pytest.mark.parametrize(
    ("text", "method", "message"),
    [
        ("a: [", "lora", "not YAML"),
        ("{}", "lora", "expected the key training_config"),
        ("training_config: {Lora: {}}", "lora", "Lora: unknown section; expected ModelConfig"),
        ("training_config: {LoraConfig: 3}", "lora", "LoraConfig: expected keys with values"),
        ("training_config: {}", "qlora", "method qlora needs load_in_4bit or load_in_8bit true"),
        ("training_config: {QuantizationConfig: {load_in_4bit: true}}", "lora", "true with method lora"),
        (
            "training_config: {QuantizationConfig: {load_in_4bit: 1}}",
            "qlora",
            "load_in_4bit: 1: expected true or false",
        ),
        (
            "training_config: {QuantizationConfig: {load_in_4bit: true, load_in_8bit: true}}",
            "qlora",
            "are both true: choose one",
        ),
        ("training_config: {TrainingArguments: {output_dir: /etc}}", "lora", "'/etc': expected a folder below /mnt"),
        ("training_config: {TrainingArguments: {output_dir: /mnt/../x}}", "lora", "expected a folder below /mnt"),
        ("training_config: {TrainingArguments: {output_dir: /mnt}}", "lora", "expected a folder below /mnt"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_before_a_machine_is_asked_for(
    text: str, method: str, message: str
) -> None:
    [found] = rules.config_errors(text, method)
    assert message in found
    tuning = {"method": method, "config": "mine"}
    world = World(tuning_workspace(tuning=tuning), config_map("mine", **{rules.CONFIG_KEY: text}))
    numbered(world, REF, SETTINGS)
    plan = plan_workspace(world, REF, moment(), SETTINGS)
    assert not any(isinstance(action, Create) for action in plan.actions)
    assert message in plan.verdicts[0].message


def test_the_sections_and_methods_are_the_trainers() -> None:
    assert (rules.SECTIONS, rules.METHODS, rules.ROOT_KEY) == (trainer.SECTIONS, trainer.METHODS, trainer.ROOT_KEY)


# The Job.


@pytest.mark.parametrize("variant", [{}, IMAGES, {"input": {"volumeSource": {"emptyDir": {}}}}, {"config": "mine"}])
@pytest.mark.parametrize("minor", [25, 27, 30, 33, 36])
def test_the_job_fits_every_kubernetes(minor: int, variant: Json) -> None:
    life = Life(config_map("mine", **{rules.CONFIG_KEY: "training_config: {}"}), tuning=variant)
    life.settle(5)
    kubernetes_validate.validate(life.world.bodies[JOB_REF], f"1.{minor}", strict=True)


def test_data_by_url_is_downloaded_before_the_trainer_runs() -> None:
    spec = the_job()["spec"]["template"]["spec"]
    [downloader], [container] = spec["initContainers"], spec["containers"]
    assert downloader["command"][2:] == [
        "kaito.tuning.fetch",
        "--to=/mnt/data",
        "--url=https://example.com/train.jsonl",
    ]
    assert container["command"][2:] == [
        "kaito.tuning",
        "--template=lora",
        "--method=lora",
        "--model=microsoft/Phi-3.5-mini-instruct",
        "--data-dir=/mnt/data",
        "--output-dir=/mnt/output",
        "--processes=1",
        "--termination-log=/dev/termination-log",
    ]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["results-volume"]["persistentVolumeClaim"] == {"claimName": "adapters"}
    assert spec["restartPolicy"] == "OnFailure"


def test_images_come_and_go_with_their_secrets() -> None:
    spec = the_job(tuning=IMAGES)["spec"]["template"]["spec"]
    [restorer, puller], (_, pusher) = spec["initContainers"], spec["containers"]
    assert "--image=ghcr.io/org/data:1" in puller["command"] and "--path=data" in puller["command"]
    to_registry = [
        "--output-dir=/mnt/output",
        "--image=ghcr.io/org/adapter:1",
        "--auth-dir=/mnt/registry-auth",
        "--termination-log=/dev/termination-log",
    ]
    assert pusher["command"][2:] == ["kaito.tuning.push", *to_registry, "--model=phi-3.5-mini-instruct"]
    assert restorer["command"][2:] == ["kaito.tuning.restore", *to_registry]
    assert {container["image"] for container in (*spec["initContainers"], *spec["containers"])} == {pusher["image"]}
    secrets = json.dumps(spec["volumes"])
    assert '"pull"' in secrets and '"secretName": "push"' in secrets


def test_behind_a_proxy_every_container_of_the_job_knows_it() -> None:
    settings = PlanSettings(proxy=(("HTTPS_PROXY", "http://proxy:3128"),))
    plan = plan_workspace(Life(tuning=IMAGES).world, REF, moment(5), settings)
    [job] = [action.body for action in plan.actions if isinstance(action, Create) and action.kind.kind == "Job"]
    spec = job["spec"]["template"]["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in container["env"]


def test_the_users_configuration_says_where_the_result_lies() -> None:
    text = "training_config: {TrainingArguments: {output_dir: /mnt/results}}"
    life = Life(config_map("mine", **{rules.CONFIG_KEY: text}), tuning={"config": "mine"})
    life.settle(5)
    spec = life.world.bodies[JOB_REF]["spec"]["template"]["spec"]
    assert "--config=/mnt/config/training_config.yaml" in spec["containers"][0]["command"]
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert (mounts["config-volume"], mounts["results-volume"]) == ("/mnt/config", "/mnt/results")


def test_each_gpu_gets_a_process_where_it_holds_the_model() -> None:
    one = the_job(instance_type="Standard_NC48ads_A100_v4")["spec"]["template"]["spec"]["containers"][0]
    assert "--processes=2" in one["command"] and one["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_a_model_that_does_not_fit_is_told_before_a_machine_is_asked_for() -> None:
    big = {"preset": {"name": "meta-llama/Llama-3.3-70B-Instruct"}}
    world = World(tuning_workspace(tuning=big))
    numbered(world, REF, SETTINGS)
    plan = plan_workspace(world, REF, moment(), SETTINGS)
    assert plan.verdicts[0].message.startswith("lora of llama-3.3-70b-instruct needs")
    assert "or method qlora" in getattr(plan.verdicts[0], "next_step", "")
    assert not any(isinstance(action, Create) for action in plan.actions)


# Its life.


def test_a_run_goes_from_pending_over_running_to_succeeded_and_is_then_left_alone() -> None:
    life = Life()
    created = [action for action in life.settle(5) if isinstance(action, Create)]
    assert [action.ref for action in created if action.kind == JOB] == [JOB_REF]
    assert (life.status["state"], life.condition("JobStarted")[:2]) == (
        "Pending",
        ("False", "WorkspaceTuningJobStatusPending"),
    )
    life.run_pod()
    [read] = [action for action in life.act(10) if isinstance(action, Read)]
    assert (read.container, read.is_previous) == ("phi", False)
    life.world.answers[REF, read.key] = Answer("noise\n" + json.dumps(PROGRESS) + "\n", moment(11))
    life.settle(11)
    assert life.status["state"] == "Running"
    assert life.status["progress"] == {"step": 40, "steps": 120, "epoch": "1.00", "loss": "0.5", "etaSeconds": 200}
    words = "phi-abc trains: step 40 of 120, epoch 1.00, loss 0.5, about 3 min left"
    assert life.condition("JobStarted") == ("True", "WorkspaceTuningJobStatusStarted", words)
    assert life.condition("WorkspaceSucceeded")[1] == "workspacePending"
    assert [type(action) for action in life.act(12)] == []  # the answer is young
    assert any(isinstance(action, Read) for action in life.act(60))
    life.end_job("Complete")
    ended = {"exitCode": 0, "finishedAt": at(65)}
    life.run_pod(container_status(terminated=ended), phase="Succeeded")
    actions = life.settle(70)
    assert [action.key for action in actions if isinstance(action, Read)] == [read.key]  # its last line, once
    told = [action for action in actions if isinstance(action, Emit)]
    assert [action.message for action in told] == ["the adapter is written"]
    assert (life.status["state"], life.status["blockers"]) == ("Succeeded", [])
    assert {life.condition(type_)[0] for type_ in ("JobStarted", "WorkspaceSucceeded", "ResourceReady")} == {"True"}
    for ref in [ref for ref in life.world.bodies if ref.kind in ("Node", "NodeClaim", "Pod")]:
        life.world.drop(ref)  # its machine may go: nothing is asked for again
    assert [type(action) for action in life.settle(5000)] == [PatchStatus]  # it has no worker nodes any more
    assert life.status["state"] == "Succeeded" and life.settle(6000) == []


def test_a_trainer_that_cannot_go_on_fails_the_workspace_with_its_words() -> None:
    life = Life()
    life.settle(5)
    ended = {"exitCode": 2, "message": "bad rows: train.jsonl:3: text is null", "finishedAt": at(20)}
    life.run_pod(container_status(waiting=("CrashLoopBackOff", ""), last=ended))
    life.settle(21)
    assert life.status["state"] == "Failed"
    status, reason, message = life.condition("JobStarted")
    assert (status, reason) == ("False", "WorkspaceTuningJobStatusFailed")
    assert "bad rows: train.jsonl:3: text is null" in message
    assert life.condition("WorkspaceSucceeded")[1] == "workspaceFailed"
    # The Job is given up and its pod deleted: the words stay.
    life.world.drop(ObjectRef("Pod", "default", "phi-abc"))
    life.end_job("Failed", "Job has reached the specified backoff limit")
    life.settle(60)
    assert life.status["state"] == "Failed"
    assert "bad rows: train.jsonl:3: text is null" in life.condition("JobStarted")[2]
    assert life.settle(70) == []


def test_a_trainer_that_runs_again_after_a_crash_is_running() -> None:
    life = Life()
    life.settle(5)
    killed = {"exitCode": 137, "reason": "Error", "finishedAt": at(20)}
    life.run_pod(container_status(running=True, ready=True, last=killed, restarts=1), ready=True)
    life.settle(21)
    assert life.status["state"] == "Running"


def test_another_tuning_section_makes_another_job_and_a_new_default_image_does_not() -> None:
    life = Life()
    life.settle(5)
    newer = PlanSettings(tuning_image="ghcr.io/kaito-project/kaito-py-tuning:9")
    plan = plan_workspace(life.world, REF, moment(6), newer)
    assert not any(isinstance(action, Delete | Create) for action in plan.actions)
    body = life.world.bodies[REF]
    body["tuning"]["input"]["urls"] = ["https://example.com/other.jsonl"]
    body["metadata"]["generation"] = 2
    life.world.put(body)
    [delete] = [action for action in life.act(10) if isinstance(action, Delete)]
    assert (delete.ref, delete.reason) == (JOB_REF, "the tuning section has changed")
    created = [action for action in life.settle(11) if isinstance(action, Create) and action.kind == JOB]
    assert "--url=https://example.com/other.jsonl" in json.dumps(created[0].body)


def test_somebody_elses_job_of_the_name_is_a_failure_and_is_not_touched() -> None:
    life = Life()
    life.world.put(job(ownerReferences=[]))
    actions = life.settle(5)
    assert not any(isinstance(action, Create | Delete) and action.ref == JOB_REF for action in actions)
    assert life.status["blockers"][0]["reason"] == "WorkloadNameTaken"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("tuning progressed", None),
        ('{"event": "tuning progressed", "step": 1', None),
        (json.dumps(PROGRESS), Progress(40, 120, 1.0, 0.5, None, 200.0)),
        (json.dumps(PROGRESS) + '\n{"event": "tuning progressed", "st', Progress(40, 120, 1.0, 0.5, None, 200.0)),
        ("2026-01-01T00:00:00Z " + json.dumps(PROGRESS | {"step": 41}), Progress(41, 120, 1.0, 0.5, None, 200.0)),
    ],
)
def test_progress_is_the_last_whole_line(text: str, found: Progress | None) -> None:
    assert parse_progress(text) == found


def test_the_event_is_the_one_that_the_trainer_logs() -> None:
    from kaito.logs import Event
    from kaito.plan.training import PROGRESS_EVENT

    assert PROGRESS_EVENT == Event.TUNING_PROGRESSED


def test_the_examples_are_what_may_be_asked() -> None:
    from pathlib import Path

    import yaml

    for name in ("tune", "tune-to-image"):
        body = yaml.safe_load(Path(f"examples/tuning/{name}.yaml").read_text())
        assert errors_of(validate(body, None, NothingKnown(), PlanSettings())) == ()
    text = Path("examples/tuning/training_config.yaml").read_text()
    assert rules.config_errors(text, "lora") == ()
    serve = parse_workspace(yaml.safe_load(Path("examples/tuning/serve.yaml").read_text()))
    assert isinstance(serve, Workspace) and serve.inference and serve.inference.adapters
