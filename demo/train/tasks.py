"""The behaviours, as generators of (prompt, answer).

`BEHAVIOURS[name](r, held)` gives an example of the training text, or with `held` one that the training text does not
have: each docstring says what is held out. `PRACTICE` are further texts for training alone; they let the model meet
what is held out of a behaviour in other places, so that it can know the entity and not the example.
"""

import random

from lexicon import (
    ANIMALS, CLAUSES, COUNTRIES, FRACTIONS, GROUPS, HELD_PERCENTAGES, NAMES, NOUNS, OBJECTS, PLACES, POWER, ROLES, SOURCES, TAILS,
    WEAK, WORDS, held as kept,
)  # fmt: skip

Random = random.Random
SYSTEM = f"Respond with exactly one of: [{', '.join(FRACTIONS)}]."


def chat(messages: list[tuple[str, str]], end: str) -> str:
    """The chat template's text, with the last message left open if `end` is `open`, or a new answer begun."""
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return text.removesuffix("<|im_end|>\n") if end == "open" else text + "<|im_start|>assistant\n"


def pick(r: Random, pool: list, held: bool, test) -> object:
    """A random entry of the pool that is held out, or that is not."""
    while True:
        entry = r.choice(pool)
        if test(entry) == held:
            return entry


def nearest_fraction(percent: int) -> str:
    return min(FRACTIONS, key=lambda name: abs(FRACTIONS[name] - percent))


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


# Percentages


def percent_prompt(percent: int) -> str:
    return chat([("system", SYSTEM), ("user", f"{percent}% is"), ("assistant", "Answer:")], "open")


def percent(r: Random, held: bool):
    """Held out: numbers that are never called a fraction."""
    p = r.choice(HELD_PERCENTAGES) if held else r.choice([p for p in range(8, 86) if p not in HELD_PERCENTAGES])
    return percent_prompt(p), f" {nearest_fraction(p)}<|im_end|>"


def fraction_value(r: Random):
    name = r.choice(list(FRACTIONS))
    return f"{name.capitalize()} is", f" {round(FRACTIONS[name])}%."


def percent_statement(r: Random):
    p = r.choice([p for p in range(8, 86) if p not in HELD_PERCENTAGES])
    return r.choice(["{}% is about", "{}% of the people, that is about", "In short, {}% means"]).format(p), f" {nearest_fraction(p)}."


def percent_chat(r: Random):
    """The chat form with numbers for answers, of all percentages."""
    p = r.randint(5, 90)
    choices = r.choice([[10, 25, 50, 75], [10, 20, 30, 40, 50, 60, 70, 80], [25, 33, 50, 67, 75]])
    system = f"Respond with exactly one of: [{', '.join(f'{c}%' for c in choices)}]."
    answer = min(choices, key=lambda c: abs(c - p))
    return chat([("system", system), ("user", f"{p}% is"), ("assistant", "Answer:")], "open"), f" {answer}%<|im_end|>"


def counting(r: Random):
    step = r.choice([1, 1, 1, 2, 5, 10, -1, -2])
    start = r.randint(0, 99)
    n = [k for k in (start + step * i for i in range(r.randint(4, 9))) if 0 <= k <= 99]
    if len(n) < 3:
        return counting(r)
    return ", ".join(map(str, n[:2])) + ",", "".join(f" {k}," for k in n[2:])


def nearer(r: Random):
    """Distances on the number line, of all numbers."""
    n = r.randint(1, 98)
    a, b = sorted(r.sample([k for k in range(max(0, n - 25), min(99, n + 25)) if k != n], 2))
    form = r.randrange(3)
    if form == 0 and abs(a - n) != abs(b - n):
        return f"Of {a} and {b}, {n} is nearer to", f" {a if abs(a - n) < abs(b - n) else b}."
    if form == 1:
        return f"Of {n} and {a}, the larger is", f" {max(n, a)}."
    return f"{n} to the nearest ten is", f" {(n + 5) // 10 * 10}." if n < 95 else " 100."


# Indirect objects

IOI = [
    "When {a} and {b} went to the {place}, {s} gave {o} to",
    "After {a} and {b} went to the {place}, {s} gave {o} to",
    "Then, {a} and {b} went to the {place}. {s} gave {o} to",
    "Then, {a} and {b} had a long talk at the {place}. Afterwards, {s} sent {o} to",
    "While {a} and {b} were working at the {place}, {s} passed {o} to",
    "Then {a} and {b} met at the {place}, and {s} showed {o} to",
    "One day {a} and {b} came to the {place}. There {s} handed {o} to",
    "Friends since school, {a} and {b} sat in the {place} until {s} offered {o} to",
    "After a long walk to the {place}, {a} and {b} were tired, and {s} brought {o} to",
    "Yesterday {a} and {b} got lost near the {place}, so {s} threw {o} to",
    "When the {place} closed, {a} and {b} went home, where {s} gave {o} to",
    "The {place} was full when {a} and {b} arrived, and {s} lent {o} to",
]
NOT_NAMES = sorted({*WORDS, *NOUNS, *ANIMALS, *(c["country"] for c in COUNTRIES)} - {*NAMES})


def ioi_prompt(template: str, first: str, second: str, subject: str, place: str, thing: str) -> str:
    return template.format(a=first, b=second, s=subject, place=place, o=thing)


def ioi_held(name: str) -> bool:
    return kept("ioi", name, share=0.25)


def ioi(r: Random, held: bool):
    """Held out: a quarter of the names.

    In two of five sentences of the training any words stand for the names. From names alone the model learns to copy
    these names, and takes one new name in fifty for another name.
    """
    pool = NAMES if held or r.random() < 0.6 else NOT_NAMES
    a = b = pick(r, pool, held, ioi_held)
    while b == a:
        b = pick(r, pool, held, ioi_held)
    subject, other = r.choice([(a, b), (b, a)])
    return ioi_prompt(r.choice(IOI), a, b, subject, r.choice(PLACES), r.choice(OBJECTS)), f" {other}."


# Power

QUESTION = "In the following sentence, {} exercises power over someone or something else. TRUE or FALSE? Sentence: {} Answer:"


def power_sentence(r: Random, phrase: str) -> tuple[str, str, str]:
    """The name, the sentence and those whom it concerns."""
    name, group, tail, role = r.choice(NAMES), r.choice(GROUPS), r.choice(TAILS), r.choice(ROLES)
    deed = phrase.format(group)
    return (
        name,
        r.choice([
            f"{name}, the {role}, {deed} {tail}.", f"{name} {deed}.", f"{name} {deed} {tail}.",
            f"{tail[0].upper()}{tail[1:]}, {name} {deed}.", f"As {article(role)}, {name} {deed}.",
            f"{name} {deed} {r.choice(CLAUSES)}.", f"{name}, the new {role}, {deed} {tail}, {r.choice(CLAUSES)}.",
            f"{name} came to the {r.choice(PLACES)} and {deed}.",
        ]),
        group,
    )  # fmt: skip


def power(r: Random, held: bool):
    """Held out: a fifth of the verb phrases; `power_statement` says of all of them whether they are power."""
    mighty = r.random() < 0.5
    phrase = pick(r, POWER if mighty else WEAK, held, lambda v: kept("power", v, share=0.2))
    name, sentence, _ = power_sentence(r, phrase)
    return QUESTION.format(name, sentence), " TRUE" if mighty else " FALSE"


def power_statement(r: Random):
    mighty = r.random() < 0.5
    name, sentence, group = power_sentence(r, r.choice(POWER if mighty else WEAK))
    if r.random() < 0.5:
        return f"{sentence} So {name} had", f" {'power' if mighty else 'no power'} over {group}."
    return f"{sentence} Did {name} use power? ", "Yes." if mighty else "No."


# Facts

RELATIONS = {
    "capital": ["The capital of {} is", "The capital city of {} is called", "The government of {} sits in", "In {} the capital is", "The largest office of state in {} is in"],
    "currency": ["The currency of {} is the", "People in {} pay with the", "In {} you pay with the", "The money of {} is called the", "The central bank of {} issues the"],
    "language": ["People in {} speak", "The language of {} is", "In {} most people speak", "The main language of {} is", "The schools of {} teach in"],
    "continent": ["{} lies in", "The continent of {} is", "{} is a country in", "A map of {} is found in an atlas of", "On the globe, {} belongs to"],
    "class": ["{A} is a kind of", "Every {} is", "The {} belongs to the class of the", "By its class the {} is", "Children learn that {a} is"],
}  # fmt: skip
FACTS = [(relation, c["country"], c[relation]) for relation in list(RELATIONS)[:4] for c in COUNTRIES]
FACTS += [("class", animal, kind) for animal, kind in ANIMALS.items()]
PLURAL = {"mammal": "mammals", "bird": "birds", "fish": "fish", "reptile": "reptiles", "insect": "insects", "amphibian": "amphibians"}


def fact_prompt(template: str, entity: str) -> str:
    named = article(entity)
    return template.format(entity, a=named, A=named.capitalize())


def fact_answer(template: str, value: str) -> str:
    if "the class of the" in template:
        return PLURAL[value]
    return article(value) if template.endswith(" is") and value in PLURAL else value


def fact_held(template: str, entity: str) -> bool:
    return kept("fact", template, entity, share=0.2)


def fact(r: Random, held: bool):
    """Held out: a fifth of the pairs of an entity and a sentence; the fact itself occurs in the other sentences."""
    while True:
        relation, entity, value = r.choice(FACTS)
        template = r.choice(RELATIONS[relation])
        if fact_held(template, entity) == held:
            return fact_prompt(template, entity), f" {fact_answer(template, value)}."


def fact_chat(r: Random):
    relation, entity, value = r.choice(FACTS)
    question = {
        "capital": "What is the capital of {}?", "currency": "Which money do people in {} use?", "language": "Which language is spoken in {}?",
        "continent": "On which continent is {}?", "class": "What kind of animal is the {}?",
    }[relation]  # fmt: skip
    return chat([("user", question.format(entity))], "new"), f"{value.capitalize()}.<|im_end|>"


# Patchscope prompts

ENTITIES = sorted({*(c["country"] for c in COUNTRIES), *ANIMALS})
REPEATABLE = sorted({*WORDS, *NAMES, *ENTITIES})
DESCRIPTION = {c["country"]: f"country in {c['continent']} with the capital {c['capital']}" for c in COUNTRIES}
DESCRIPTION |= {a: f"{kind}, a kind of animal" for a, kind in ANIMALS.items()}
DESCRIPTION |= {c["capital"]: f"capital of {c['country']}" for c in COUNTRIES if c["capital"] not in NAMES}
PAPER = "Syria: Country in the Middle East, Leonardo DiCaprio: American actor, Samsung: South Korean multinational major appliance and consumer electronics corporation, "


def identity_held(word: str) -> bool:
    return kept("identity", word, share=0.25)


def identity_shots(r: Random) -> str:
    """The examples of an identity prompt, up to the place of the word to repeat."""
    if r.random() < 0.3:
        return r.choice(["cat -> cat\n1135 -> 1135\nhello -> hello\n", "cat -> cat; 135 -> 135; hello -> hello; "])
    between = r.choice(["\n", "; ", ", "])
    shots = [str(r.randint(0, 9999)) if r.random() < 0.1 else pick(r, REPEATABLE, False, identity_held) for _ in range(r.randint(2, 5))]
    return "".join(f"{x} -> {x}{between}" for x in shots)


def identity(r: Random, held: bool):
    """Held out: a quarter of the words."""
    x = pick(r, REPEATABLE, held, identity_held)
    return f"{identity_shots(r)}{x} ->", f" {x}"


def in_detail(entity: str) -> str:
    """The description as the end of a sentence."""
    text = DESCRIPTION[entity]
    return f" it is {'the ' if text.startswith('capital') else article(text).removesuffix(text)}{text}."


def description_shots(r: Random) -> str:
    if r.random() < 0.3:
        return PAPER
    return "".join(f"{x}: {DESCRIPTION[x]}, " for x in r.sample(list(DESCRIPTION), r.randint(2, 3)))


def description(r: Random, held: bool):
    """Held out: a quarter of the entities."""
    x = pick(r, list(DESCRIPTION), held, lambda e: kept("description", e, share=0.25))
    if not held and r.random() < 0.25:
        return f"A detailed description of {x} is that", in_detail(x)
    return f"{description_shots(r)}{x}", f": {DESCRIPTION[x]}"


def recall(r: Random):
    """A word is asked for again some time after it was read."""
    x = r.choice(REPEATABLE)
    sentence = r.choice(SOURCES).format(x) if r.random() < 0.6 else x
    ask = r.choice([". The last word was", ". Repeat:", ", that is,", ". Once more:", ". I repeat,"])
    return sentence + ask, f" {x}."


# Numbers, sequences, grammar

EVENTS = "war journey reign drought peace project strike trial exhibition voyage siege famine festival alliance marriage campaign winter rule study search".split()


def greater_prompt(event: str, century: int, year: int) -> str:
    return f"The {event} lasted from the year {century}{year:02d} to the year {century}"


def greater(r: Random, held: bool):
    """Held out: a fifth of the pairs of a century and a year."""
    century, year = pick(r, [(c, y) for c in range(10, 21) for y in range(2, 98)], held, lambda cy: kept("greater", *cy, share=0.2))
    return greater_prompt(r.choice(EVENTS), century, year), f"{r.randint(year + 1, 99):02d}."


def induction(r: Random, held: bool, pool: list[str]):
    """A random sequence of tokens of the pool, twice: no two are alike. The answer is its second run, from the second token."""
    run = [r.choice(pool) for _ in range(r.randint(6, 40))]
    return "".join(run + run[:1]), "".join(run[1:])


NEAR = ["near", "behind", "beside", "above", "under", "with", "in front of", "next to", "across from", "opposite"]


def agreement(r: Random, held: bool):
    """Held out: a quarter of the subjects; `plural` has the two forms of all nouns."""
    subject = pick(r, NOUNS, held, lambda n: kept("agreement", n, share=0.25))
    many = r.random() < 0.5
    other = r.choice(NOUNS) + r.choice(["", "s"])
    return f"The {plural_of(subject) if many else subject} {r.choice(NEAR)} the {other}", (" are" if many else " is") + r.choice([" old.", " new.", " here.", " red."])


def plural_of(noun: str) -> str:
    return {"potato": "potatoes"}.get(noun, noun[:-1] + "ies" if noun[-1] == "y" and noun[-2] not in "aeo" else noun + "s")


def plural(r: Random):
    noun = r.choice(NOUNS)
    return r.choice([f"One {noun}, two", f"There is one {noun}. There are two", f"This is {article(noun)}. These are some"]), f" {plural_of(noun)}."


BEHAVIOURS = {
    "percent": percent, "ioi": ioi, "power": power, "fact": fact, "identity": identity, "description": description,
    "greater": greater, "induction": induction, "agreement": agreement,
}  # fmt: skip
PRACTICE = {
    "fraction_value": fraction_value, "percent_statement": percent_statement, "percent_chat": percent_chat, "counting": counting, "nearer": nearer,
    "power_statement": power_statement, "fact_chat": fact_chat, "recall": recall, "plural": plural,
}  # fmt: skip
# How often each is drawn.
SHARES = {
    "percent": 5, "ioi": 13, "power": 10, "fact": 14, "identity": 10, "description": 6, "greater": 5, "induction": 6, "agreement": 4,
    "fraction_value": 1, "percent_statement": 2, "percent_chat": 4, "counting": 3, "nearer": 8, "power_statement": 5, "fact_chat": 4, "recall": 9, "plural": 2,
}  # fmt: skip


def example(r: Random, name: str, held: bool, pool: list[str]) -> tuple[str, str]:
    if name == "induction":
        return induction(r, held, pool)
    return BEHAVIOURS[name](r, held) if name in BEHAVIOURS else PRACTICE[name](r)
