"""English text as tokens: words, contractions and punctuation apart, as spaCy's rule-based English tokeniser cuts them.

    classes.py      what a character can be to the rules, as bit flags by code point
    exceptions.py   words and signs that the rules would cut wrongly, and how they are cut
    split.py        one run of non-whitespace cut by the rules, character by character
    stream.py       a whole text: every run looked up in a memo of cut runs, and cut once if it is not there

The rules are those spaCy 3 documents for English (spacy.io/usage/linguistic-features#how-tokenizer-works), written
anew; the slow twin, tests/curator/signals/text/english_reference.py, states them as regular expressions.
"""
