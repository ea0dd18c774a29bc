"""Every operator that looks at one row at a time, as one union on `kind`: the union is the registry.

Knows which operators exist; nothing of what they do.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from curator.signals.benchmarks import Decontaminate
from curator.signals.boilerplate import Boilerplate
from curator.signals.c4 import C4Quality
from curator.signals.composition import Composition
from curator.signals.damage import EncodingDamage
from curator.signals.dclm import DclmQuality
from curator.signals.fineweb import FinewebQuality
from curator.signals.gopher import GopherQuality, GopherRepetition
from curator.signals.language import Language
from curator.signals.length import Length
from curator.signals.personal import PersonalData
from curator.signals.word_list import WordList

__all__ = ["ROW_OPERATORS", "RowOperator"]

RowOperator = Annotated[
    Length
    | GopherQuality
    | GopherRepetition
    | C4Quality
    | FinewebQuality
    | DclmQuality
    | EncodingDamage
    | Boilerplate
    | Composition
    | Language
    | PersonalData
    | Decontaminate
    | WordList,
    Field(discriminator="kind"),
]

ROW_OPERATORS = (
    Length,
    GopherQuality,
    GopherRepetition,
    C4Quality,
    FinewebQuality,
    DclmQuality,
    EncodingDamage,
    Boilerplate,
    Composition,
    Language,
    PersonalData,
    Decontaminate,
    WordList,
)
"""The members of the union."""
