"""Aho–Corasick: every phrase of a list found in one walk over the bytes, ASCII case ignored.

Knows phrases and their groups; nothing of what a group means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Automaton", "build"]


class Automaton(NamedTuple):
    """From state 0, each byte moves to moves[state, byte]; groups[state] has the bits of all phrases ending there."""

    moves: np.ndarray  # uint16[states, 256]
    groups: np.ndarray  # uint8[states]


def build(phrases: Mapping[int, tuple[str, ...]]) -> Automaton:
    """An automaton of lower-case phrases, given by group bit. Raises ValueError on a phrase that could never match."""
    children: list[dict[int, int]] = [{}]
    groups = [0]
    for bit, members in phrases.items():
        for phrase in members:
            if not phrase or phrase != phrase.lower():
                raise ValueError(f"phrase {phrase!r} would never match: give it in lower case and not empty")
            state = 0
            for byte in phrase.encode():
                if byte not in children[state]:
                    children[state][byte] = len(children)
                    children.append({})
                    groups.append(0)
                state = children[state][byte]
            groups[state] |= bit
    return _closed(children, groups)


def _closed(children: list[dict[int, int]], groups: list[int]) -> Automaton:
    """Breadth first: a state's missing moves are those of its longest proper suffix."""
    moves = np.zeros((len(children), 256), np.uint16)
    suffix = [0] * len(children)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        if state:
            moves[state] = moves[suffix[state]]
            groups[state] |= groups[suffix[state]]
        for byte, child in children[state].items():
            suffix[child] = int(moves[suffix[state], byte]) if state else 0
            moves[state, byte] = child
            queue.append(child)
    moves[:, 0x41:0x5B] = moves[:, 0x61:0x7B]
    return Automaton(moves, np.array(groups, np.uint8))
