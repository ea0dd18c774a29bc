"""datatrove's four filters over one Parquet file, kept rows to Parquet; for `cascade.py`, in datatrove's environment.

python _datatrove_cascade.py FILE        prints rows kept and CPU seconds net of imports and of the first tokens
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.text import split_into_words


def main(source):
    split_into_words("Loads the tokeniser.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "in")
        folder.mkdir()
        shutil.copy(source, folder)
        filters = [
            GopherRepetitionFilter(),
            GopherQualityFilter(),
            C4QualityFilter(filter_no_terminal_punct=False),
            FineWebQualityFilter(),
        ]
        steps = [ParquetReader(str(folder)), *filters, ParquetWriter(f"{scratch}/out")]
        started = time.process_time()
        LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=f"{scratch}/log").run()
        spent = time.process_time() - started
        kept = sum(pq.ParquetFile(path).metadata.num_rows for path in Path(scratch, "out").glob("*.parquet"))
    print(f"kept {kept}, {spent:.2f} CPU-s net")


if __name__ == "__main__":
    main(sys.argv[1])
