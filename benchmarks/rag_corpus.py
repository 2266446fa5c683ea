"""A corpus with known answers: the same documents and questions for the same size, on every machine.

Each document has 75 to 100 words and one fact that no other has. A third tells a story and is asked for in its own
words, a third tells one and is asked for in other words only (what a lexical index cannot find), a third is code and is
asked for by an exact name or error number (what an embedding cannot tell apart).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Literal

Kind = Literal["question", "paraphrase", "exact"]
KINDS: tuple[Kind, ...] = ("question", "paraphrase", "exact")

# (as the document says it, as a paraphrase asks for it)
PEOPLE = [
    ("the baker", "the person who makes bread"),
    ("the sailor", "the seaman"),
    ("the doctor", "the physician"),
    ("the teacher", "the school instructor"),
    ("the lawyer", "the attorney"),
    ("the farmer", "the man who works the fields"),
    ("the tailor", "the maker of clothes"),
    ("the thief", "the burglar"),
    ("the judge", "the magistrate"),
    ("the painter", "the artist at the easel"),
    ("the fisherman", "the angler"),
    ("the blacksmith", "the forger of iron"),
    ("the librarian", "the keeper of books"),
    ("the pilot", "the aviator"),
    ("the gardener", "the one who tends plants"),
    ("the barber", "the hairdresser"),
    ("the butcher", "the seller of meat"),
    ("the nun", "the sister of the convent"),
    ("the soldier", "the infantryman"),
    ("the child", "the youngster"),
]
DEEDS = [
    ("repaired", "fixed"),
    ("bought", "purchased"),
    ("hid", "concealed"),
    ("lost", "mislaid"),
    ("stole", "took without permission"),
    ("painted", "put colour on"),
    ("sold", "traded for money"),
    ("found", "discovered"),
    ("broke", "smashed"),
    ("cleaned", "scrubbed"),
    ("built", "constructed"),
    ("burned", "set fire to"),
]
THINGS = [
    ("a bicycle", "a two-wheeler"),
    ("an accordion", "a squeezebox"),
    ("a clock", "a timepiece"),
    ("a boat", "a small vessel"),
    ("a carpet", "a rug"),
    ("a lamp", "a light"),
    ("a violin", "a fiddle"),
    ("a hat", "headgear"),
    ("a cupboard", "a piece of storage furniture"),
    ("a necklace", "jewellery for the throat"),
    ("a tractor", "a farm machine"),
    ("a telescope", "an instrument to see the stars"),
    ("a map", "a chart of the land"),
    ("a sword", "a blade"),
    ("a kettle", "a pot for boiling water"),
    ("a mirror", "a looking glass"),
    ("an umbrella", "a shelter from the rain"),
    ("a piano", "a keyboard instrument"),
    ("a tent", "a canvas shelter"),
    ("a saddle", "a rider's seat"),
    ("a ladder", "something to climb"),
    ("a wedding dress", "a bride's gown"),
    ("a radio", "a wireless set"),
    ("a wheelbarrow", "a cart with one wheel"),
]
PLACES = [
    ("in the church", "in a house of worship"),
    ("at the harbour", "where the ships dock"),
    ("in the hospital", "in a clinic"),
    ("at the railway station", "where the trains stop"),
    ("in the forest", "in the woods"),
    ("on the beach", "on the sandy shore"),
    ("in the prison", "in a jail"),
    ("in the kitchen", "where the meals are cooked"),
    ("at the airport", "where planes land"),
    ("in the cellar", "in the basement"),
    ("on the mountain", "up on a peak"),
    ("in the theatre", "in a playhouse"),
    ("at the market", "between the stalls of the bazaar"),
    ("in the school", "in a house of learning"),
    ("on the farm", "on an estate with cattle"),
    ("in the desert", "among dry dunes"),
    ("in the castle", "in a fortress"),
    ("at the mill", "where grain is ground"),
    ("in the museum", "in a gallery of old exhibits"),
    ("under the bridge", "below the river crossing"),
]
TIMES = [
    ("at midnight", "in the dead of night"),
    ("at dawn", "as the sun rose"),
    ("during the storm", "while thunder rolled"),
    ("in winter", "in the cold season"),
    ("on a wedding day", "as a couple got married"),
    ("during the war", "in a time of battles"),
    ("at harvest", "when crops were gathered"),
    ("during an earthquake", "when the ground shook"),
    ("at noon", "in the middle of the day"),
    ("during the flood", "when the water rose over its banks"),
    ("during the eclipse", "when the sun went dark"),
    ("on election day", "when people cast votes"),
]
FILLERS = [
    "Nobody in the village spoke about it for a long time.",
    "The newspaper gave it four lines on the last page.",
    "A neighbour remembered the sound of footsteps and a closing door.",
    "The weather had been mild, and the roads were dry.",
    "Two letters about the matter are kept in the town archive.",
    "It cost more than anyone wanted to admit afterwards.",
    "The mayor asked questions and wrote the answers down.",
    "Some people laughed, others shook their heads.",
    "A photograph shows the scene, but the faces are blurred.",
    "The story was told again every year with new details.",
    "An uncle claimed to know the reason, but he kept it to himself.",
    "There was soup for everyone, and the talk went on until late.",
    "The dog had barked twice and gone back to sleep.",
    "Later an insurance company sent a man with a notebook.",
    "The old road was closed that week, so few strangers came by.",
    "A song was made of it, with eleven verses.",
]
SYLLABLES = tuple("ba de fi go hu ka le mi no pu ra se ti vo wu ya ze cho dri fla gre kno pla stu tre".split())  # noqa: SIM905
VERBS = "load flush merge parse render rotate encode decode resolve dispatch validate compact replay fetch prune"
NOUNS = "ledger tariff session shard packet invoice cursor tenant quota lease bucket manifest segment token route"


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose one right answer is the document at position `answer`."""

    kind: Kind
    text: str
    answer: int


@dataclass(frozen=True, slots=True)
class Corpus:
    documents: tuple[str, ...]
    questions: tuple[Question, ...]


def build_corpus(count: int, *, questions_each: int = 100, seed: int = 7) -> Corpus:
    """`count` documents and `questions_each` questions of every kind, spread over them."""
    rng = Random(seed)
    kinds = list(islice(cycle(KINDS), count))
    pairs = [_document(rng, kind, n) for n, kind in enumerate(kinds)]
    asked: list[Question] = []
    for kind in KINDS:
        positions = [n for n, of in enumerate(kinds) if of == kind]
        step = max(1, len(positions) // questions_each)
        asked.extend(Question(kind, pairs[n][1], n) for n in positions[::step][:questions_each])
    return Corpus(tuple(text for text, _ in pairs), tuple(asked))


def new_documents(count: int, *, seed: int) -> list[str]:
    """Documents that `build_corpus` does not have, for writers."""
    rng = Random(seed)
    return [_document(rng, kind, 1_000_000 * seed + n)[0] for n, kind in enumerate(islice(cycle(KINDS), count))]


def _document(rng: Random, kind: Kind, n: int) -> tuple[str, str]:
    """(its text, the question that it answers)."""
    return _code(rng, n) if kind == "exact" else _story(rng, kind, n)


def _story(rng: Random, kind: Kind, n: int) -> tuple[str, str]:
    person, deed, thing, place, time = (rng.choice(of) for of in (PEOPLE, DEEDS, THINGS, PLACES, TIMES))
    name, year = _name(rng, n), 1700 + n % 300
    others = rng.sample(FILLERS, 5)
    fact = f"{time[0].capitalize()}, {name}, {person[0]}, {deed[0]} {thing[0]} {place[0]}."
    again = f"Whoever was {place[0]} {time[0]} saw {person[0]} and {thing[0]}."
    text = " ".join([fact, f"It was the year {year}.", *others[:3], again, *others[3:]])
    if kind == "question":
        return text, f"What did {name} do with {thing[0]} {place[0]}?"
    asked = f"{person[1]} {deed[1]} {thing[1]} {place[1]} {time[1]}?"
    return text, asked[0].upper() + asked[1:]


def _code(rng: Random, n: int) -> tuple[str, str]:
    verb, (noun, other) = rng.choice(VERBS.split()), rng.sample(NOUNS.split(), 2)
    function, error = f"{verb}_{noun}_{_tag(n)}", f"E-{100_000 + n * 7 % 899_999}"
    table, limit = f"{other}_{_tag(n + 50_000_000)}", rng.choice((16, 64, 128, 512))
    text = f'''def {function}({noun}, {other}, *, limit={limit}):
    """{verb.capitalize()} one {noun} into the {other} and return what is left of the {noun}."""
    rows = []
    for row in {noun}.rows:
        if row.size > limit:
            raise ValueError("{error}: the {noun} holds more than the {other} takes")
        rows.append({other}.accept(row))
    if not rows:
        log.info("{table} stays as it is because the {noun} was empty")
        return {noun}
    with {other}.lock:
        {other}.commit(rows, into="{table}")
    # nothing is left half done: either every row is in or none of them is
    # whoever calls this next sees the {other} and never the old {noun}
    return {noun}.without(rows)
'''
    question = f"Where is {function} defined?" if n % 2 else f"What raises {error}?"
    return text, question


def _name(rng: Random, n: int) -> str:
    """A name that only document n has."""
    first, rest = "", n + len(SYLLABLES)
    while rest:
        rest, at = divmod(rest, len(SYLLABLES))
        first += SYLLABLES[at]
    return f"{first.capitalize()} {rng.choice(SYLLABLES).capitalize()}{rng.choice(SYLLABLES)}son"


def _tag(n: int) -> str:
    return f"{n * 2_654_435_761 % 2**32:08x}"
