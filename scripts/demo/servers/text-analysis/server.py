"""Text analysis for English prose: counts and readability scores, and key phrases by RAKE."""

import math
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

# Isolated mode (python -I) leaves a script's own folder out of the search path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from mcp_stdio import Tool, ToolError, object_schema, serve  # noqa: E402

TEXT_LENGTH_MAX = 500_000
WORDS_PER_MINUTE = 238  # Silent reading of English non-fiction (Brysbaert, 2019).

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
# The lookbehind lets a match start only where a run of marks does: a megabyte of dots stays linear.
SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]]*+(?=\s)")
# What separates phrases, besides stop words: anything but letters, digits, and marks inside a word.
PHRASE_BREAK = re.compile(r"[^\w\s'’-]+|\n\s*\n|\s[-–—]+\s")
VOWELS = re.compile(r"[aeiouyà-öø-ÿ]+")
# rule but not table; makes but not tables or changes; named but not wanted.
SILENT_ENDING = re.compile(
    r"(?:(?:[^aeiouyl]|[aeiouy]l)e|(?:[^aeiouylscxzgh]|[aeiouy]l)es|[^aeiouytd]ed)$"
)

ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr vs etc al cf e.g i.e inc ltd co corp no art sec fig vol pp ed".split()
)
STOP_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each either every few for from
    further had has have having he her here hers herself him himself his how however i if in into is it
    its itself just like made make many may me might more most much must my myself neither no nor not now
    of off on once one only or other our ours ourselves out over own per same shall she should since so
    some such than that the their theirs them themselves then there therefore these they this those
    through thus to too under until up upon us very was we were what when where whereas which while who
    whom whose why will with within without would yet you your yours yourself yourselves""".split()
)


def analyze_text(arguments: dict[str, Any]) -> dict[str, Any]:
    """Counts what a text is made of and scores how hard it is to read."""
    text = arguments["text"]
    words = WORD.findall(text)
    if not words:
        raise ToolError("The text has no words.")
    sentence_lengths = [len(WORD.findall(sentence)) for sentence in _split_sentences(text)]
    sentence_lengths = [length for length in sentence_lengths if length > 0]
    syllables = [_count_syllables(word.lower()) for word in words]
    return {
        "characters": len(text),
        "words": len(words),
        "distinct_words": len({word.lower() for word in words}),
        "sentences": len(sentence_lengths),
        "paragraphs": sum(1 for paragraph in PARAGRAPH_BREAK.split(text) if WORD.search(paragraph)),
        "words_per_sentence": round(len(words) / len(sentence_lengths), 2),
        "longest_sentence_words": max(sentence_lengths),
        "letters_per_word": round(_count_letters(words) / len(words), 2),
        "syllables_per_word": round(sum(syllables) / len(words), 2),
        "reading_minutes": round(len(words) / WORDS_PER_MINUTE, 1),
        "readability": _score_readability(
            words=len(words),
            sentences=len(sentence_lengths),
            letters=_count_letters(words),
            syllables=sum(syllables),
            long_words=sum(1 for count in syllables if count >= 3),
        ),
    }


def extract_key_phrases(arguments: dict[str, Any]) -> dict[str, Any]:
    """Ranks the phrases that tell best what a text is about.

    RAKE (Rose et al., 2010): phrases are what stands between stop words and punctuation; a word
    scores by how long the phrases around it are, a phrase by its words. Multiplied by how often the
    phrase occurs, so that what a text keeps coming back to stands above what it says once.
    """
    words_min, words_max = arguments.get("min_words", 2), arguments.get("max_words", 3)
    occurrences = Counter(
        phrase for phrase in _find_phrases(arguments["text"]) if words_min <= len(phrase) <= words_max
    )
    if not occurrences:
        raise ToolError(f"The text has no phrase of {words_min} to {words_max} words.")
    frequency: Counter[str] = Counter()
    degree: defaultdict[str, int] = defaultdict(int)
    for phrase, count in occurrences.items():
        for word in phrase:
            frequency[word] += count
            degree[word] += len(phrase) * count
    scores = {
        phrase: count * sum(degree[word] / frequency[word] for word in phrase)
        for phrase, count in occurrences.items()
    }
    ranked = sorted(scores, key=lambda phrase: (-scores[phrase], phrase))
    return {
        "phrases": [
            {"phrase": " ".join(phrase), "score": round(scores[phrase], 2), "count": occurrences[phrase]}
            for phrase in ranked[: arguments.get("limit", 10)]
        ],
        "candidates": len(occurrences),
    }


def _score_readability(
    *, words: int, sentences: int, letters: int, syllables: int, long_words: int
) -> dict[str, float]:
    per_sentence = words / sentences
    per_word = syllables / words
    scores = {
        "flesch_reading_ease": 206.835 - 1.015 * per_sentence - 84.6 * per_word,
        "flesch_kincaid_grade": 0.39 * per_sentence + 11.8 * per_word - 15.59,
        "gunning_fog": 0.4 * (per_sentence + 100 * long_words / words),
        "smog": 1.043 * math.sqrt(long_words * 30 / sentences) + 3.1291,
        "coleman_liau": 5.88 * letters / words - 29.6 * sentences / words - 15.8,
        "automated_readability": 4.71 * letters / words + 0.5 * per_sentence - 21.43,
    }
    return {name: round(score, 2) for name, score in scores.items()}


def _split_sentences(text: str) -> Iterator[str]:
    """Sentences end at a mark followed by space, and at the end of a paragraph (headings, lists)."""
    for paragraph in PARAGRAPH_BREAK.split(text):
        start = 0
        for end in SENTENCE_END.finditer(paragraph):
            if not _is_abbreviation(paragraph[max(start, end.start() - 20) : end.start()], end.group()):
                yield paragraph[start : end.end()]
                start = end.end()
        yield paragraph[start:]


def _is_abbreviation(before: str, mark: str) -> bool:
    last_word = before.rpartition(" ")[2].rpartition("\n")[2].lstrip("(\"'“‘").lower()
    # A single letter is an initial ("J. Smith"), except the pronoun.
    is_initial = len(last_word) == 1 and last_word.isalpha() and last_word != "i"
    return mark == "." and (is_initial or last_word in ABBREVIATIONS)


def _count_letters(words: Iterable[str]) -> int:
    return sum(1 for word in words for character in word if character.isalpha())


@lru_cache(maxsize=50_000)
def _count_syllables(word: str) -> int:
    """Groups of vowels, less a silent ending: right for most English words, not for all."""
    groups = len(VOWELS.findall(word))
    return max(groups - 1 if SILENT_ENDING.search(word) else groups, 1)


def _find_phrases(text: str) -> Iterator[tuple[str, ...]]:
    """Runs of words that hold no stop word and cross no punctuation."""
    for fragment in PHRASE_BREAK.split(text):
        run: list[str] = []
        for word in [*WORD.findall(fragment), ""]:
            lower = word.lower().replace("’", "'")
            if len(lower) > 1 and lower not in STOP_WORDS:
                run.append(lower)
                continue
            if run:
                yield tuple(run)
            run = []


TEXT = {
    "type": "string",
    "minLength": 1,
    "maxLength": TEXT_LENGTH_MAX,
    "description": "English prose as plain text; a blank line separates paragraphs.",
}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number"}

TOOLS = [
    Tool(
        name="analyze_text",
        title="Analyze a text",
        description=(
            "Counts words, sentences and paragraphs of English prose and scores its readability: "
            "Flesch, Flesch-Kincaid, Gunning fog, SMOG, Coleman-Liau, ARI."
        ),
        input_schema=object_schema({"text": TEXT}),
        output_schema=object_schema(
            {
                "characters": COUNT,
                "words": COUNT,
                "distinct_words": COUNT,
                "sentences": COUNT,
                "paragraphs": COUNT,
                "words_per_sentence": NUMBER,
                "longest_sentence_words": COUNT,
                "letters_per_word": NUMBER,
                "syllables_per_word": NUMBER,
                "reading_minutes": NUMBER,
                "readability": object_schema(
                    {
                        "flesch_reading_ease": NUMBER,
                        "flesch_kincaid_grade": NUMBER,
                        "gunning_fog": NUMBER,
                        "smog": NUMBER,
                        "coleman_liau": NUMBER,
                        "automated_readability": NUMBER,
                    }
                ),
            }
        ),
        run=analyze_text,
    ),
    Tool(
        name="extract_key_phrases",
        title="Extract key phrases",
        description="Ranks the phrases that tell best what an English text is about (RAKE).",
        input_schema=object_schema(
            {
                "text": TEXT,
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
                "min_words": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2},
                "max_words": {"type": "integer", "minimum": 1, "maximum": 5, "default": 3},
            },
            required=["text"],
        ),
        output_schema=object_schema(
            {
                "phrases": {
                    "type": "array",
                    "items": object_schema({"phrase": {"type": "string"}, "score": NUMBER, "count": COUNT}),
                },
                "candidates": COUNT,
            }
        ),
        run=extract_key_phrases,
    ),
]

if __name__ == "__main__":
    serve("text-analysis", "1.0.0", TOOLS)
