"""The columns of documents as they pass from stage to stage, and how a document is named."""

from __future__ import annotations

import pyarrow as pa

REASON_TYPE = pa.struct([("rule", pa.string()), ("value", pa.float64()), ("threshold", pa.float64())])

#: ``clean/documents-*.parquet``. ``text`` is large so that one huge document cannot overflow 32-bit offsets.
#: ``metadata`` is a JSON object with sorted keys, of what the recipe's ``metadata_fields`` name, or null.
CLEAN_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("metadata", pa.string()),
    ]
)

#: ``clean/rejected-*.parquet``: what was left out and every rule it failed. ``file`` and ``row`` say where it came
#: from; ``detail`` tells why an input row could not be read; ``duplicate_of`` and ``cluster_size`` name a
#: duplicate's keeper and how many documents its cluster has.
REJECTED_SCHEMA = pa.schema(
    [
        *CLEAN_SCHEMA,
        ("file", pa.string()),
        ("row", pa.int64()),
        ("reasons", pa.list_(REASON_TYPE)),
        ("detail", pa.string()),
        ("duplicate_of", pa.string()),
        ("cluster_size", pa.int64()),
    ]
)

#: The rule name under which an input row that could not be read is recorded.
UNREADABLE = "unreadable"
