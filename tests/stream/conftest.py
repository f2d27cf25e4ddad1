"""Make the datasets the tests share importable under one name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).with_name("datasets_on_disk.py")
_SPEC = importlib.util.spec_from_file_location("tests_stream_data", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
sys.modules["tests_stream_data"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(sys.modules["tests_stream_data"])
