"""What every kernel is made with."""

import subprocess
import sys

RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from curator.signals.text import bytescan
bytescan._sources = lambda: sys.argv[2]
import calling
print(calling.twice(3))
"""


def test_a_kernel_is_compiled_again_when_one_that_it_calls_has_changed(tmp_path):
    (tmp_path / "calling.py").write_text(
        "import called\nfrom curator.signals.text.bytescan import lean\n\n"
        "@lean\ndef twice(x):\n    return 2 * called.more(x)\n"
    )

    def answer(more: str, sources: str) -> str:
        (tmp_path / "called.py").write_text(
            f"from curator.signals.text.bytescan import lean\n\n@lean\ndef more(x):\n    return {more}\n"
        )
        command = [sys.executable, "-B", "-c", RUN, str(tmp_path), sources]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert answer("x + 1", "a") == "8"
    assert answer("x + 100", "a") == "8", "numba itself looks at the file of the caller alone"
    assert answer("x + 100", "b") == "206"
