"""Ray, and nothing else of it anywhere. Whoever imports from here first sets how Ray authenticates.

Ray reads these variables when it is imported, so they are set before any module of this package imports it.
"""

from __future__ import annotations

import os

from pipelines.cluster.token import prepare

prepare(os.environ)
