"""Which language a text is written in, by py3langid's naive Bayes model walked by a kernel.

The model (Lui & Baldwin 2012, as retrained in py3langid 0.4) is loaded once, on first use. Gives what
`py3langid.classify` gives for the first 1,024 characters, at a hundred times its speed. Knows nothing of which
languages are wanted.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import RunFailedError
from curator.signals.buffers import RowBytes, row_bytes
from curator.signals.language import LANGUAGES
from curator.signals.text.bytescan import kernel
from curator.signals.text.family import Family

__all__ = ["LANGUAGE", "PREFIX_CHARS"]

PREFIX_CHARS: Final = 1024
"""Only so many characters from the start are looked at: more hardly changes the answer."""

SIGNALS: Final = {
    "language": "code of the likeliest language: its position in curator.signals.language.LANGUAGES",
    "language_score": "probability of that language, 0 to 1; cannot say where no letter pattern is known",
}


class _Model(NamedTuple):
    moves: np.ndarray  # uint16[distinct rows · 256]: byte automaton
    row_of: np.ndarray  # uint32[states]: where a state's row begins in moves
    feature_of: np.ndarray  # int32[states]: feature seen on entering a state, -1 for none
    weights: np.ndarray  # float32[features, labels]
    prior: np.ndarray  # float32[labels]
    code_of: np.ndarray  # int64[labels]: position in LANGUAGES


@lru_cache(maxsize=1)
def _model() -> _Model:
    """Raises RunFailedError where py3langid is absent or its labels are not those of LANGUAGES."""
    try:
        from py3langid.langid import LanguageIdentifier
    except ImportError as error:
        raise RunFailedError("the language signals need py3langid: pip install 'winnow-curation[server]'") from error
    source = LanguageIdentifier.from_model_file("data/model.npz.xz")
    codes = {name: code for code, name in enumerate(LANGUAGES)}
    unknown = sorted(set(source.nb_classes) - set(codes))
    if unknown:
        raise RunFailedError(
            f"this py3langid knows languages without a code here ({', '.join(unknown)}); install py3langid 0.4"
        )
    return _Model(
        np.asarray(source.tk_nextmove),
        np.asarray(source._rowbase, np.uint32),
        np.asarray(source.tk_output, np.int32),
        np.asarray(source.nb_ptc, np.float32),
        np.asarray(source.nb_pc, np.float32),
        np.array([codes[name] for name in source.nb_classes], np.int64),
    )


@kernel
def _visit(data, start, stop, moves, row_of, feature_of, visits, seen):
    """Counts features into visits (all 0 before) and lists the distinct ones in `seen`; returns their number."""
    state = np.uint64(0)
    distinct = 0
    for byte in data[start:stop]:
        state = np.uint64(moves[np.uint64(row_of[state]) + np.uint64(byte)])
        feature = feature_of[state]
        if feature >= 0:
            if visits[feature] == 0:
                seen[distinct] = feature
                distinct += 1
            visits[feature] += 1
    return distinct


@kernel
def _classify(data, offsets, moves, row_of, feature_of, weights, prior, code_of, num_languages, out):
    visits = np.zeros(weights.shape[0], np.int32)
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    seen = np.empty(longest + 1, np.int32)
    chance = np.empty(num_languages, np.float64)
    scores = np.empty(prior.size, np.float32)
    for row in range(offsets.size - 1):
        start, stop = offsets[row], offsets[row + 1]
        out[row] = np.nan
        distinct = _visit(data, start, stop, moves, row_of, feature_of, visits, seen)
        if distinct == 0:
            continue
        scores[:] = prior
        for k in range(distinct):
            feature = seen[k]
            times = np.float32(np.log1p(np.float32(visits[feature])))
            visits[feature] = 0
            row_weights = weights[feature]
            for label in range(scores.size):
                scores[label] += times * row_weights[label]
        scale = 1.0 / np.sqrt(np.float64(stop - start))
        top = scores.max()
        chance[:] = 0.0
        total = 0.0
        for label in range(scores.size):  # labels that share a language add up
            part = np.exp(scale * (scores[label] - top))
            chance[code_of[label]] += part
            total += part
        best = np.argmax(chance)
        out[row, 0] = best
        out[row, 1] = chance[best] / total


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    text = _prepared(rows)
    out = np.empty((len(rows), 2), np.float32)
    model = _model()
    _classify(text.data, text.offsets, *model, len(LANGUAGES), out)
    return out


def _prepared(rows: RowBytes) -> RowBytes:
    """The first characters of each row as py3langid reads them: composed (NFC), all-capitals in lower case."""
    buffers = [None, pa.py_buffer(rows.offsets), pa.py_buffer(rows.data)]
    texts = pa.Array.from_buffers(pa.large_string(), len(rows), buffers)
    texts = pc.if_else(pa.array(rows.valid), texts, pa.scalar("", pa.large_string()))
    head = pc.utf8_slice_codeunits(texts, 0, PREFIX_CHARS)
    head = pc.if_else(pc.utf8_is_upper(head), pc.utf8_lower(head), head)
    other = pc.invert(pc.string_is_ascii(head))  # ASCII is composed already
    return row_bytes(pc.replace_with_mask(head, other, pc.utf8_normalize(head.filter(other), form="NFC")))


LANGUAGE: Final = Family(SIGNALS, _score)
