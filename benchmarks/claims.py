"""Questions with their answers -> claims: true ones, and such as their article does not support.

"When was the tower built?" and "1912" become "The tower was built in 1912." by rules on the first words of the
question and lists of verbs. What the rules do not know becomes no claim. Of each true claim others are made:

- other of the article: with the answer of another question, of the same kind (a number for a number, a date for a
  date, a name for a name), that shares no word with the right ones; to a question with the same first word if any;
- other of the paragraph: the same, of another question on the same paragraph;
- negated: with "not" after the first "is", "was", "has" or the like;
- another article: the true claim, compared with an article that says nothing of it.

Left out: grammar. Some claims read badly ("Parents went in rubble of schools to mourn their children").
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from qa_onnx.evaluation.metrics import f1

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qa_onnx.data.gold import Gold

Truth = Literal["true", "other of the article", "other of the paragraph", "negated", "another article"]
TRUTHS: tuple[Truth, ...] = get_args(Truth)
LONGEST_ANSWER = 8  # words

_IRREGULAR_VERBS = (
    "become:became begin:began bring:brought build:built buy:bought choose:chose come:came cost:cost "
    "draw:drew fall:fell fight:fought find:found get:got give:gave go:went grow:grew have:had hold:held "
    "keep:kept know:knew lead:led leave:left lose:lost make:made mean:meant meet:met pay:paid put:put "
    "rise:rose run:ran say:said see:saw sell:sold send:sent set:set sign:signed sing:sang speak:spoke "
    "spend:spent stand:stood take:took teach:taught tell:told think:thought win:won write:wrote"
)
_IRREGULAR = dict(pair.split(":") for pair in _IRREGULAR_VERBS.split())
_REGULAR_VERBS = (
    "accept achieve acquire adopt agree allow announce appear apply approve argue arrive ask attack attempt "
    "attend attract ban believe belong call capture carry cause celebrate change claim close compete complete "
    "conclude conduct conquer consider construct contain contribute convert cover create cross decide decline "
    "defeat define deliver demand describe design develop die discover divide earn elect employ encourage end "
    "enter establish evolve exist expand explain express fail finish follow force form gain graduate happen "
    "help identify implement improve include increase influence intend introduce invade invent issue join "
    "launch learn live lose maintain marry merge migrate move need occupy occur offer open operate oppose "
    "organize own participate pass perform play prevent produce promote propose protect prove provide publish "
    "reach receive record reduce refer refuse regain reject release remain remove replace report represent "
    "require resign return reveal rule save serve settle share show start stop study suffer suggest support "
    "surrender surround travel try turn use view visit want work"
)
_PAST_PARTICIPLES = (
    "born built bought held made written won found founded led given taken known shown seen sold sent set put "
    "kept lost left paid said told taught spoken sung broken chosen driven drawn fought brought caught cut "
    "hit laid read spent split spread thrown worn grown flown begun run become"
)
_PARTICIPLES = frozenset(_PAST_PARTICIPLES.split())
_AUXILIARIES = "is|are|was|were|has|have|had|can|could|will|would|may|might|must|should"
_BE = re.compile(r"(is|are|was|were) (.+)")
_DID = re.compile(r"(did|does|do) (.+)")
_WHERE_WHEN = re.compile(r"(When|Where) (.+)")
_ASKED = re.compile(
    r"(?:(In|On|At|By|From|During|To|For|With) )?(?:what|which)(?: (year|month|day|date|century|decade|city"
    r"|country|state|place|town|war|river|university|school|language|company))? (.+)",
    re.IGNORECASE,
)
_RELATIVE = re.compile(r"\S+ \S+ .*\b(?:that|who|which|what|where|when|because|whose)\b")
_COUNT = re.compile(r"How (?:many|much) (.+)")
_PREPOSITIONS = "in on at by from during to for with of near between since before after around until as into about"
_BARRED = frozenset(f"the a an of and or 's {_PREPOSITIONS}".split())
_STARTS = tuple(f"{word} " for word in _PREPOSITIONS.split())

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(rf"\b(?:1[0-9]|20)\d\d\b|\b{_MONTH}\b|\bcentury\b")
_NUMBER_WORDS = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|hundred|thousand|million|billion)\b"
)


@dataclass(frozen=True)
class Claim:
    """A statement that an article supports or not.

    Attributes:
        text: the statement.
        truth: see the top of this file.
        kind: of its answer, see `kind_of`.
        answers: the right ones of its question.
        article: whose paragraphs it is compared with.
    """

    text: str
    truth: Truth
    kind: str
    answers: tuple[str, ...]
    article: str


@dataclass(frozen=True)
class ClaimSet:
    """Claims, and how many of the questions they are made of.

    Attributes:
        claims: those of a question one after the other.
        questions: all with an answer.
        usable: those that the rules can turn.
        used: those that claims were made of.
    """

    claims: tuple[Claim, ...]
    questions: int
    usable: int
    used: int


def kind_of(answer: str) -> str:
    """Return what an answer looks like: date, number, name or phrase."""
    if _DATE.search(answer):
        return "date"
    if _NUMBER_WORDS.search(answer):
        return "number"
    words = [word for word in answer.split() if word.casefold() not in _BARRED]
    return "name" if words and all(word[:1].isupper() for word in words) else "phrase"


def statement(question: str, answer: str) -> str | None:
    """Return a question and its answer as a statement; None where no rule knows how."""
    text = question.strip().removesuffix("?").strip()
    is_plain = not text.endswith(("?", ".")) and not _RELATIVE.match(text) and "," not in text
    if is_plain and len(answer.split()) <= LONGEST_ANSWER:
        for rule in (_of_did, _of_be, _of_count, _of_subject):
            if made := rule(text, answer.strip()):
                made = " ".join(made.split())
                return f"{made[0].upper()}{made[1:]}."
    return None


def _of_did(text: str, answer: str) -> str | None:
    """Turn "When did X open?" into "X opened in A", and "How many rooms does X have?" into "X has A rooms"."""
    place, rest, unit = _asked_for(text, answer)
    if place is None or not (match := _DID.fullmatch(rest)):
        return None
    words = match[2].split()
    for at in range(1, len(words)):
        if (verb := words[at]) in _VERBS and words[at - 1].casefold() not in _BARRED:
            inflected = {"did": _VERBS[verb], "does": _third(verb), "do": verb}[match[1]]
            subject, behind = " ".join(words[:at]), " ".join(words[at + 1 :])
            thing = f"{answer}{unit}"
            if place == "object" and _is_preposition(behind):
                return f"{subject} {inflected} {behind} {thing}"
            if place == "object":
                return f"{subject} {inflected} {thing} {behind}"
            return f"{subject} {inflected} {behind} {place}{thing}"
    return None


def _is_preposition(text: str) -> bool:
    return text in _PREPOSITIONS.split()


def _asked_for(text: str, answer: str) -> tuple[str | None, str, str]:
    """Return the place of the answer ("object", or a preposition to put before it), what follows, and its unit."""
    if match := _WHERE_WHEN.fullmatch(text):
        return ("" if answer.startswith(_STARTS) else "in "), match[2], ""
    if match := re.fullmatch(r"How (?:many|much) (?:([a-z]+(?: [a-z]+)?) )?((?:did|does|do) .+)", text):
        unit = f" {match[1]}" if match[1] and match[1] not in answer else ""
        return "object", match[2], unit
    if match := _ASKED.fullmatch(text):
        if match[1]:
            return ("" if answer.startswith(_STARTS) else f"{match[1].lower()} "), match[3], ""
        if match[2] in {"year", "month", "century", "decade"}:
            return ("" if answer.startswith(_STARTS) else "in "), match[3], ""
        return "object", match[3], ""
    who = re.fullmatch("Who (did .+)", text)
    return ("object", who[1], "") if who else (None, "", "")


def _of_be(text: str, answer: str) -> str | None:
    """Turn "When was X built?" into "X was built in A", "What is the height of X?" into "The height of X is A"."""
    who = re.fullmatch(r"(?:Who|What) ((?:is|are|was|were) .+)", text)
    place, rest, _ = ("object", who[1], "") if who else _asked_for(text, answer)
    if place is None or not (match := _BE.fullmatch(rest)):
        return None
    be, words = match[1], match[2].split()
    has_gap = place != "object" or _is_preposition(words[-1]) or _is_participle(words[-1])
    for at in range(1, len(words)):
        if has_gap and _is_participle(words[at]) and words[at - 1].casefold() not in _BARRED:
            subject, behind = " ".join(words[:at]), " ".join(words[at:])
            return f"{subject} {be} {behind} {'' if place == 'object' else place}{answer}"
    if _is_participle(words[0]):
        return f"{answer} {be} {' '.join(words)}" if who else None
    if words[0].casefold() in {"the", "a", "an", "one", "another"} or words[0][0].isupper():
        where = f"{place}{answer}" if place != "object" else answer
        return f"{' '.join(words)} {be} {where}"
    return None


def _is_participle(word: str) -> bool:
    return word in _PARTICIPLES or (word.endswith("ed") and len(word) > 4)


def _of_count(text: str, answer: str) -> str | None:
    """Turn "How many people live in X?" into "A people live in X"."""
    match = _COUNT.fullmatch(text)
    if match is None or re.search(rf"\b(?:did|does|do|{_AUXILIARIES})\b", match[1]):
        return None
    unit, _, rest = match[1].partition(" ")
    return f"{answer} {rest if unit in answer else match[1]}" if rest else None


def _of_subject(text: str, answer: str) -> str | None:
    """Turn "Who designed X?" into "A designed X", and "Which city has X?" into "A has X"."""
    match = re.fullmatch(r"Who (.+)", text) or re.fullmatch(r"(?:What|Which)(?: [a-z]+)? (.+)", text)
    if match is None:
        return None
    first = match[1].split()[0]
    if first in _PASTS or first in {"has", "had", "can", "could", "will"}:
        return f"{answer} {match[1]}"
    return None


def _third(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith(("s", "sh", "ch", "x", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb.endswith("y") and verb[-2] not in "aeiou" else f"{verb}s"


def _past(verb: str) -> str:
    if verb.endswith("e"):
        return f"{verb}d"
    if verb in {"ban", "stop", "refer", "occur"}:
        return f"{verb}{verb[-1]}ed"
    return f"{verb[:-1]}ied" if verb.endswith("y") and verb[-2] not in "aeiou" else f"{verb}ed"


_VERBS = {verb: _past(verb) for verb in _REGULAR_VERBS.split()} | _IRREGULAR
_PASTS = frozenset(_VERBS.values())


def make_claims(golds: Iterable[Gold], questions: int, seed: int = 0) -> ClaimSet:
    """Return claims of some questions, which are taken in random order; each gives one claim of each truth it can.

    Args:
        golds: questions with their articles and paragraphs.
        questions: of which claims are made, at most.
        seed: of the random choices.
    """
    chance = random.Random(seed)
    answered = [gold for gold in golds if gold.answers]
    articles: dict[str, list[Gold]] = {}
    for gold in answered:
        articles.setdefault(gold.article, []).append(gold)
    usable = [gold for gold in answered if statement(gold.question, gold.answers[0])]
    chance.shuffle(usable)
    claims: list[Claim] = []
    for gold in usable[:questions]:
        claims += _claims_of(gold, articles, chance)
    return ClaimSet(tuple(claims), len(answered), len(usable), min(questions, len(usable)))


def _claims_of(gold: Gold, articles: dict[str, list[Gold]], chance: random.Random) -> Iterator[Claim]:
    answer, article = gold.answers[0], gold.article
    text = statement(gold.question, answer)
    assert text is not None
    claim = Claim(text, "true", kind_of(answer), gold.answers, article)
    yield claim
    paragraph = [other for other in articles[article] if other.context == gold.context]
    altered: tuple[tuple[Truth, list[Gold]], ...] = (
        ("other of the article", articles[article]),
        ("other of the paragraph", paragraph),
    )
    for truth, others in altered:
        if other := _other_answer(gold, others, chance):
            changed = statement(gold.question, other)
            if changed is not None:
                yield replace(claim, text=changed, truth=truth)
    negated, count = re.subn(rf"\b({_AUXILIARIES})\b", r"\1 not", text, count=1)
    if count:
        yield replace(claim, text=negated, truth="negated")
    if names := [name for name in sorted(articles) if name != article]:
        yield replace(claim, truth="another article", article=chance.choice(names))


def _other_answer(gold: Gold, others: Sequence[Gold], chance: random.Random) -> str | None:
    """Return an answer of the same kind of another question that shares no word with the right ones."""
    kind, question = kind_of(gold.answers[0]), gold.question.casefold()
    found = [
        other
        for other in others
        if kind_of(other.answers[0]) == kind
        and not f1(other.answers[0], gold.answers)
        and other.answers[0].casefold() not in question
    ]
    word = question.partition(" ")[0]
    alike = [other for other in found if other.question.casefold().startswith(f"{word} ")]
    return chance.choice(alike or found).answers[0] if found else None
