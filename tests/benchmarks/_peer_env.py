"""A virtual environment for a peer, made once under the temporary folder, so that its packages meet none of ours."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

DATATROVE = ("datatrove[io,processing]", "spacy")


def peer_python(name: str, packages: tuple[str, ...]) -> str | None:
    """Its Python; None, and why, when the packages cannot be installed."""
    folder = Path(tempfile.gettempdir()) / "winnow_bench" / name
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print("installing", ", ".join(packages), flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{name} cannot be installed ({error}); only Winnow is measured")
            return None
        (folder / "installed").touch()
    return str(python)
