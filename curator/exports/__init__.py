"""Kept rows in the formats of other tools."""

from curator.exports.archives import export_mds, export_webdataset, with_nulls
from curator.exports.tables import export_jsonl, export_parquet
from curator.exports.writing import FORMATS, ExportForm, write_export

__all__ = [
    "FORMATS",
    "ExportForm",
    "export_jsonl",
    "export_mds",
    "export_parquet",
    "export_webdataset",
    "with_nulls",
    "write_export",
]
