"""Facts on which NAS measures how long value vectors usually are: some that ship, or a file of CounterFact's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",")]


_COUNTRIES = _listed(
    "France, Japan, Italy, Brazil, Egypt, Canada, Germany, Spain, India, Mexico, "
    "Norway, Greece, Poland, Turkey, Kenya, Peru, Sweden, Portugal, Austria, Chile"
)
_CAPITALS = _listed(
    "Paris, Tokyo, Rome, Brasília, Cairo, Ottawa, Berlin, Madrid, Delhi, Havana, "
    "Oslo, Athens, Warsaw, Ankara, Nairobi, Lima, Stockholm, Lisbon, Vienna, Santiago"
)
_LANGUAGES = _listed(
    "French, Japanese, Italian, Portuguese, Arabic, English, German, Spanish, Hindi, Dutch, "
    "Norwegian, Greek, Polish, Turkish, Swahili, Russian, Swedish, Danish, Finnish, Korean"
)
_WRITERS = _listed(
    "Leo Tolstoy, Jane Austen, Victor Hugo, Charles Dickens, Franz Kafka, Homer, Virginia Woolf, Mark Twain, "
    "Marcel Proust, Herman Melville, Dante Alighieri, James Joyce, Anton Chekhov, Oscar Wilde, Albert Camus, "
    "George Orwell, Henrik Ibsen, Thomas Mann, Emily Dickinson, Jorge Luis Borges"
)
_INSTRUMENTS = _listed("piano, violin, guitar, trumpet, flute, cello, drums, harp, organ, clarinet")
_MUSICIANS = _listed(
    "Miles Davis, Johann Sebastian Bach, Jimi Hendrix, Yo-Yo Ma, Ringo Starr, Frédéric Chopin, Louis Armstrong, "
    "Niccolò Paganini, Benny Goodman, Glenn Gould, Eric Clapton, John Coltrane, Clara Schumann, Keith Moon, "
    "Pablo Casals, Nina Simone, Art Tatum, Django Reinhardt, Itzhak Perlman, Charlie Parker"
)

_RELATIONS: tuple[tuple[str, list[str], list[str]], ...] = (
    ("The capital of {} is", _COUNTRIES, _CAPITALS),
    ("The official language of {} is", _COUNTRIES, _LANGUAGES),
    ("{} was born in the city of", _WRITERS, _CAPITALS),
    ("The mother tongue of {} is", _WRITERS, _LANGUAGES),
    ("{} plays the", _MUSICIANS, _INSTRUMENTS),
)
_SHIFT = 7
"""So many places further on stands the object that a subject gets: the facts are new to a model."""


def anchor_facts(path: Path | None = None) -> list[EditRequest]:
    """Return the facts that ship, or those of a file: CounterFact's, or one with lists of rewrites (MQuAKE).

    Raises:
        UsageError: the file is no JSON list of records with ``requested_rewrite``, or has no fact.
    """
    if path is not None:
        return _read(path)
    return [
        EditRequest(prompt, subject, objects[(place + _SHIFT) % len(objects)])
        for prompt, subjects, objects in _RELATIONS
        for place, subject in enumerate(subjects)
    ]


def _read(path: Path) -> list[EditRequest]:
    fix = "give a file of CounterFact's form: a JSON list of records with requested_rewrite"
    try:
        records = json.loads(path.read_text("utf-8"))
        rewrites = [rewrite for record in records for rewrite in _rewrites(record["requested_rewrite"])]
        requests = [
            EditRequest(str(each["prompt"]), str(each["subject"]), str(each["target_new"]["str"]).strip())
            for each in rewrites
        ]
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path), fix="check nas_facts") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"no facts can be read from it: {type(error).__name__}", where=str(path), fix=fix) from None
    if not requests:
        raise UsageError("it has no facts", where=str(path), fix=fix)
    return requests


def _rewrites(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
