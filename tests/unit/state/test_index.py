"""An index is a multimap: whatever it keeps inside, it answers as a dict of ordered sets does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaito.api.core import POD
from kaito.state.index import TUPLE_MAX, Index

REFS = [POD.ref("default", f"pod-{number}") for number in range(TUPLE_MAX * 2)]
steps = st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from(REFS)), max_size=60)


@given(steps)
def test_an_index_answers_as_a_dict_of_ordered_sets_does(done: list[tuple[bool, str, object]]) -> None:
    index, model = Index(), {}  # type: ignore[var-annotated]
    for is_added, key, ref in done:
        if is_added:
            index.add(key, ref)  # type: ignore[arg-type]
            model.setdefault(key, {})[ref] = None
        else:
            index.discard(key, ref)  # type: ignore[arg-type]
            model.get(key, {}).pop(ref, None)
    held = {key: list(refs) for key, refs in model.items() if refs}
    assert {key: list(refs) for key, refs in index.items()} == held
    assert set(index) == set(held) and all(list(index.holders(key)) == refs for key, refs in held.items())
    assert all((key in index) == (key in held) for key in "abc")
