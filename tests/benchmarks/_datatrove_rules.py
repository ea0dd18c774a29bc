"""Runs every rule of datatrove's Gopher, C4 and FineWeb filters alone over texts; for `cascade_agreement.py`.

python _datatrove_rules.py texts.json drops.json        (in an environment with datatrove and spaCy)
"""

import json
import sys

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils import word_tokenizers

QUALITY = {
    "gopher_word_count below": {"min_doc_words": 50},
    "gopher_word_count above": {"max_doc_words": 100_000},
    "gopher_word_length below": {"min_avg_word_length": 3},
    "gopher_word_length above": {"max_avg_word_length": 10},
    "gopher_hashes above": {"max_symbol_word_ratio": 0.1},
    "gopher_ellipses above": {"max_symbol_word_ratio": 0.1},
    "gopher_bullet_lines above": {"max_bullet_lines_ratio": 0.9},
    "gopher_ellipsis_lines above": {"max_ellipsis_lines_ratio": 0.3},
    "gopher_alphabetic_words below": {"max_non_alpha_words_ratio": 0.8},
    "gopher_stop_words below": {"min_stop_words": 2},
}
OFF = dict.fromkeys(
    ["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
     "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"]
)  # fmt: skip
REPETITION = {
    "gopher_duplicate_lines above": {"dup_line_frac": 0.3},
    "gopher_duplicate_paragraphs above": {"dup_para_frac": 0.3},
    "gopher_duplicate_line_chars above": {"dup_line_char_frac": 0.2},
    "gopher_duplicate_paragraph_chars above": {"dup_para_char_frac": 0.2},
    **{f"gopher_top_{n}_gram above": {"top_n_grams": ((n, limit),)} for n, limit in ((2, 0.2), (3, 0.18), (4, 0.16))},
    **{f"gopher_duplicate_{n}_gram above": {"dup_n_grams": ((n, 0.2 - n / 100),)} for n in (5, 6, 7, 8, 9, 10)},
}
REPETITION_OFF = {
    "dup_line_frac": None, "dup_para_frac": None, "dup_line_char_frac": None, "dup_para_char_frac": None,
    "top_n_grams": (), "dup_n_grams": (),
}  # fmt: skip
C4_OFF = {"filter_no_terminal_punct": False, "filter_lorem_ipsum": False, "filter_curly_bracket": False,
          "min_num_sentences": -1}  # fmt: skip
C4 = {
    "c4_lorem_ipsum above": {"filter_lorem_ipsum": True},
    "c4_curly_bracket above": {"filter_curly_bracket": True},
    "c4_too_few_sentences below": {"min_num_sentences": 5},
}
FINEWEB = {
    "fineweb_line_punctuation below": {"line_punct_thr": 0.12},
    "fineweb_short_lines above": {"short_line_thr": 0.67},
    "fineweb_duplicate_chars above": {"char_duplicates_ratio": 0.01},
    "fineweb_newlines above": {"new_line_ratio": 0.3},
}
FINEWEB_OFF = {"line_punct_thr": -1, "short_line_thr": 2, "char_duplicates_ratio": 2, "new_line_ratio": 1e9}

_cut = {}


def cut_once(text, language="en"):
    """The same words as `split_into_words`, cut once for all rules of a document."""
    if text not in _cut:
        _cut.clear()
        _cut[text] = word_tokenizers.load_word_tokenizer("eng").word_tokenize(text)
    return _cut[text]


def reason(result):
    return result[1] if isinstance(result, tuple) else None


def drops(rule, text):
    """(whether the rule drops the text, its reason, the text it leaves)."""
    document = Document(text=text, id="0")
    try:
        result = rule.filter(document)
    except (ZeroDivisionError, AssertionError):
        return False, None, text
    return (result is False or isinstance(result, tuple)), reason(result), document.text


def main(source, sink):
    for module in ("gopher_quality_filter", "gopher_repetition_filter", "fineweb_quality_filter"):
        sys.modules[f"datatrove.pipeline.filters.{module}"].split_into_words = cut_once
    with open(source, encoding="utf-8") as file:
        texts = json.load(file)
    rules = {name: GopherRepetitionFilter(**{**REPETITION_OFF, **on}) for name, on in REPETITION.items()}
    rules |= {name: GopherQualityFilter(**{**OFF, **on}) for name, on in QUALITY.items()}
    rules |= {name: C4QualityFilter(**{**C4_OFF, **on}) for name, on in C4.items()}
    after = {name: FineWebQualityFilter(**{**FINEWEB_OFF, **on}) for name, on in FINEWEB.items()}
    rewrite = C4QualityFilter(**C4_OFF)
    found = {name: [] for name in (*rules, *after)}
    for text in texts:
        for name, rule in rules.items():
            dropped, why, _ = drops(rule, text)
            if name == "gopher_hashes above":
                dropped = why == "gopher_too_many_hashes"
            if name == "gopher_ellipses above":
                hashes = text.count("#") / max(len(cut_once(text)), 1)
                dots = (text.count("...") + text.count("…")) / max(len(cut_once(text)), 1)
                dropped = dropped and (why == "gopher_too_many_ellipsis" or (hashes > 0.1 and dots > 0.1))
            found[name].append(bool(dropped and why != "empty"))
        left = drops(rewrite, text)[2]
        for name, rule in after.items():
            dropped, why, _ = drops(rule, left)
            found[name].append(bool(dropped and why != "empty"))
    with open(sink, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
