"""A model of the hub in the planner: asked about, waited for with a reason, and written down once it is decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.core import SECRET
from kaito.api.meta import Json
from kaito.api.workspace import WorkspaceStatus
from kaito.plan.actions import Create, Plan, Read
from kaito.plan.catalog import (
    Lookup,
    Preset,
    find_preset,
    is_hub_name,
    lookup_text,
    model_of_status,
    model_status,
    parse_lookup,
    presets,
)
from kaito.plan.model import UNANSWERED_S, answer_key
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import moment
from tests.unit.plan.test_workspace import REF, SETTINGS, STATEFUL_SET_REF
from tests.unit.plan.test_workspace import Life as AnyLife

NAME = "org/tiny"
CATALOGUE = [*presets().values()]
TINY = replace(CATALOGUE[1], model_id="Org/Tiny", tool_parser="", reasoning_parser="", chat_template="")
LARGE = replace(TINY, weights_gib=200.0)
OPTIONS: Json = {"preset": {"name": NAME, "presetOptions": {"modelAccessSecret": "token"}}}


class Life(AnyLife):
    """A Workspace of a model that the catalogue does not have; `hear` is what the hub says."""

    def __init__(self, settings: PlanSettings = SETTINGS, **ws: Any) -> None:
        super().__init__(settings, **{"preset": NAME} | ws)

    def hear(self, lookup: Lookup, now_s: float = 0) -> list[str]:
        self.world.answers[REF, answer_key(NAME)] = Answer(lookup_text(lookup), moment(now_s))
        return self.act(now_s)

    def ask(self, now_s: float) -> list[Read]:
        """Acts, and keeps the reader from answering."""
        plan = self.plan(now_s)
        reads = [action for action in plan.actions if isinstance(action, Read)]
        rest = tuple(action for action in plan.actions if not isinstance(action, Read))
        self.applier.run(Plan(REF, rest), moment(now_s))
        return reads

    def blocker(self) -> tuple[str, str]:
        (found,) = self.status["blockers"]
        return found["reason"], found["culprit"]


def test_a_model_that_the_catalogue_lacks_is_asked_about_and_waited_for() -> None:
    life = Life()
    (read,) = life.ask(0)
    assert (read.source, read.model, read.target, read.key) == ("hub", NAME, REF, "hub/org/tiny")
    assert life.blocker() == ("HubNotAsked", "hub/huggingface.co") and not life.claims()
    assert life.plan(0).recheck_s == UNANSWERED_S, "a read that was dropped is not the end"


def test_the_token_of_the_presets_secret_is_asked_with() -> None:
    (read,) = Life(inference=OPTIONS).ask(0)
    assert read.target == SECRET.ref("default", "token")


def test_what_the_hub_says_is_written_down_with_the_decision_before_anything_costs_money() -> None:
    life = Life()
    life.ask(0)
    assert life.hear(Lookup("found", model=TINY, again_s=3600))[0] == "PatchStatus"
    assert life.status["targetNodeCount"] == 1 and life.status["model"] == model_status(NAME, TINY)
    assert WorkspaceStatus.model_validate(life.status).model is not None
    plan = Life()
    plan.ask(0)
    plan.world.answers[REF, answer_key(NAME)] = Answer(lookup_text(Lookup("found", model=TINY)), moment(0))
    kinds = [type(action).__name__ for action in plan.plan(0).actions]
    assert kinds.index("PatchStatus") < kinds.index("Create")


def test_what_runs_is_served_under_the_hubs_name_with_what_the_hub_said() -> None:
    life = Life()
    life.ask(0)
    life.hear(Lookup("found", model=replace(TINY, quant_method="awq"), again_s=3600))
    life.serve(10)
    assert life.status["state"] == "Ready"
    (container,) = life.world.bodies[STATEFUL_SET_REF]["spec"]["template"]["spec"]["containers"]
    assert {"--model=Org/Tiny", "--served-model-name=tiny", "--dtype=auto"} <= set(container["command"])


@pytest.mark.parametrize("then", [None, Lookup("found", model=LARGE), Lookup("missing", "gone"), Lookup("unreachable")])
def test_a_running_workspace_is_not_touched_by_what_the_hub_says_later_nor_by_a_restart(then: Lookup | None) -> None:
    life = Life()
    life.ask(0)
    life.hear(Lookup("found", model=TINY, again_s=3600))
    life.serve(10)
    life.world.answers.clear()  # the operator starts anew
    if then is not None:
        life.world.answers[REF, answer_key(NAME)] = Answer(lookup_text(then), moment(20))
    for now_s in (20, 20 + 86_400):
        assert life.plan(now_s).actions == ()
    off = replace(SETTINGS, hub_endpoint="")
    life.settings = off
    assert life.plan(30).actions == (), "nor by turning the hub off"


def test_until_it_is_decided_a_new_answer_counts() -> None:
    life = Life(instance_type="Standard_NC24ads_A100_v5")
    life.ask(0)
    life.hear(Lookup("found", model=TINY, again_s=3600))
    assert life.blocker()[0] == "UnknownInstanceType" and "model" not in life.status
    assert life.ask(3599) == [] and len(life.ask(3601)) == 1


REFUSALS = [
    (Lookup("missing", "m", again_s=300), {}, "ModelNotFound", "workspace/default/phi", "name a Secret with a token"),
    (Lookup("missing", "m", again_s=300), OPTIONS, "ModelNotFound", "workspace/default/phi", "secret/default/token"),
    (Lookup("gated", "m", again_s=300), {}, "ModelGated", "workspace/default/phi", "presetOptions.modelAccessSecret"),
    (Lookup("gated", "m", again_s=300), OPTIONS, "ModelGated", "secret/default/token", "accept its licence at https"),
    (Lookup("unsupported", "m", again_s=300), {}, "ModelUnsupported", "workspace/default/phi", "choose another model"),
    (Lookup("no-token", "m", again_s=30), OPTIONS, "ModelAccessSecretUnreadable", "secret/default/token",
     "kubectl create secret generic token -n default"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "inference", "reason", "culprit", "step"), REFUSALS)
def test_a_refusal_fails_by_its_reason_names_the_remedy_and_is_asked_about_again(
    said: Lookup, inference: Json, reason: str, culprit: str, step: str
) -> None:
    life = Life(inference=inference)
    life.ask(0)
    assert f"Emit Warning {reason}" in life.hear(said)
    (blocker,) = life.status["blockers"]
    assert (blocker["reason"], blocker["culprit"], blocker["message"]) == (reason, culprit, "m")
    assert step in blocker["nextStep"] and not life.claims()
    assert dict(life.conditions())["WorkspaceSucceeded"] == ("False", "workspaceFailed")
    assert life.plan(1).recheck_s == said.again_s - 1
    assert life.ask(said.again_s - 1) == [] and len(life.ask(said.again_s)) == 1
    assert life.hear(Lookup("found", model=TINY, again_s=3600), said.again_s)[0] == "PatchStatus"
    assert life.status["targetNodeCount"] == 1


def test_a_silent_hub_is_a_named_blocker_with_a_since_and_no_write_while_it_lasts() -> None:
    life = Life()
    life.ask(0)
    life.hear(Lookup("unreachable", "https://huggingface.co does not answer: reset", again_s=4), 10)
    assert life.blocker() == ("HubUnreachable", "hub/huggingface.co")
    since = life.status["blockers"][0]["since"]
    for now_s in (14, 22, 38):
        (read,) = life.ask(now_s)
        assert read.model == NAME
        assert life.hear(Lookup("unreachable", "https://huggingface.co does not answer: reset", again_s=8), now_s) == []
    assert life.status["blockers"][0]["since"] == since
    assert "it is asked again by itself" in life.status["blockers"][0]["nextStep"]


def test_a_restart_repeats_what_the_status_remembers_until_the_hub_has_answered() -> None:
    life = Life()
    life.ask(0)
    life.hear(Lookup("unreachable", "no route", again_s=4), 10)
    life.world.answers.clear()
    (read,) = life.plan(20).actions
    assert isinstance(read, Read)


def test_a_hub_that_is_turned_off_is_the_reason_and_nobody_is_asked() -> None:
    life = Life(replace(SETTINGS, hub_endpoint=""))
    assert life.ask(0) == [] and life.blocker() == ("HubOff", "workspace/default/phi")
    assert "the model hub is turned off" in life.status["blockers"][0]["message"]


def test_a_gated_model_that_only_the_operators_token_opens_is_not_started_for_pods_without_one() -> None:
    gated = Lookup("found", model=TINY, is_gated=True, again_s=3600)
    for ws, reason in (({}, "ModelGated"), ({"inference": OPTIONS}, None), ({"annotations": LOCAL}, None)):
        life = Life(**ws)  # type: ignore[arg-type]
        life.ask(0)
        life.hear(gated)
        assert (life.blocker()[0] if reason else bool(life.status["targetNodeCount"])) == (reason or True)


LOCAL = {"kaito.sh/use-local-weights": "true"}


def test_a_name_that_is_no_hubs_is_unknown_and_an_answer_that_makes_no_sense_is_asked_for_again() -> None:
    life = Life(preset="phi-35-mini")
    assert life.ask(0) == []
    life = Life()
    life.ask(0)
    life.world.answers[REF, answer_key(NAME)] = Answer("", moment(0), error="timed out")
    life.act(0)
    assert life.blocker()[0] == "HubUnreachable"
    assert life.ask(UNANSWERED_S - 1) == [] and len(life.ask(UNANSWERED_S)) == 1


def test_a_large_model_gets_the_machines_that_it_needs() -> None:
    life = Life()
    life.ask(0)
    life.hear(Lookup("found", model=LARGE, again_s=3600))
    assert life.status["targetNodeCount"] == len(life.claims()) > 1


WORDS = st.from_regex(r"[A-Za-z0-9.-]{0,20}", fullmatch=True)
PRESETS = st.builds(
    Preset,
    **dict.fromkeys(("license", "quant_method", "quant_bits"), WORDS),
    model_id=st.just("Org/Tiny"),
    architecture=st.sampled_from(["LlamaForCausalLM", "Phi3ForCausalLM"]),
    weights_gib=st.floats(0, 2_000).map(lambda value: round(value, 2)),
    **{name: st.integers(1, 1 << 39) for name in ("hidden_size", "layers", "attention_heads", "kv_heads", "head_dim")},
    **{name: st.integers(0, 1 << 39) for name in ("context_tokens_max", "kv_lora_rank", "qk_rope_head_dim")},
    **{name: st.sampled_from(["", "mistral"]) for name in ("load_format", "config_format", "tokenizer_mode")},
    **{name: st.just("") for name in ("tool_parser", "reasoning_parser", "chat_template")},
)  # fmt: skip


@given(PRESETS)
def test_a_model_comes_back_from_the_status_and_from_an_answer_as_it_was(preset: Preset) -> None:
    status = {"model": model_status(NAME, preset)}
    assert model_of_status(NAME, status) == preset and model_of_status("other/name", status) is None
    assert WorkspaceStatus.model_validate(status).model is not None
    lookup = Lookup("found", model=preset, again_s=1.5)
    assert parse_lookup(lookup_text(lookup)) == lookup


@pytest.mark.parametrize("broken", [None, {}, [], {"name": NAME}, {"layers": "many"}, {"weightsGib": {}}])
def test_a_status_that_somebody_broke_is_read_again_from_the_hub(broken: Any) -> None:
    named = model_status(NAME, TINY) | broken if isinstance(broken, dict) and broken else broken
    assert model_of_status(NAME, {"model": {"name": NAME} if broken == {"name": NAME} else named}) is None
    assert parse_lookup("{}") is None and parse_lookup('{"outcome":"found"}') is None and parse_lookup("x") is None


def test_names_of_the_hub_are_told_from_others() -> None:
    assert all(is_hub_name(preset.model_id) for preset in CATALOGUE)
    assert not any(is_hub_name(name) for name in ("", "a", "a/", "/b", "a/b/c", "a b/c", "a/..", ".a/b", "a/$(X)"))
    assert find_preset(NAME) is None


def test_a_workspace_that_leaves_asks_nobody() -> None:
    life = Life(deletionTimestamp="2026-01-31T12:00:00Z")
    assert not any(isinstance(action, Read | Create) for action in life.plan(0).actions)


def test_pods_download_from_the_hub_that_is_asked() -> None:
    for endpoint, expected in (("https://mirror.example", ["https://mirror.example"]), (SETTINGS.hub_endpoint, [])):
        life = Life(replace(SETTINGS, hub_endpoint=endpoint), preset="phi-4")
        life.serve()
        (container,) = life.world.bodies[STATEFUL_SET_REF]["spec"]["template"]["spec"]["containers"]
        assert [item["value"] for item in container["env"] if item["name"] == "HF_ENDPOINT"] == expected
