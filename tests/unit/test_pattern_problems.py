"""Errors name the rule that a text breaks in words, not as a regular expression."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from draftline.v1 import content_pb2
from draftline_server.domain.errors import InvalidFieldError
from draftline_server.rpc.validation import PATTERN_PROBLEMS, check

PROTOS = Path(__file__).parents[2] / "protos" / "draftline" / "v1"


def test_each_pattern_of_the_contract_has_an_error_message() -> None:
    texts = [path.read_text() for path in PROTOS.glob("*.proto")]
    patterns = {ast.literal_eval(found) for text in texts for found in re.findall(r'pattern: (".*")', text)}
    assert patterns == set(PATTERN_PROBLEMS)


def test_nul_in_a_reason_is_named() -> None:
    request = content_pb2.DeleteContentRequest(tenant_id="t", collection="c", record_id="r", change_reason="a\0b")
    with pytest.raises(InvalidFieldError, match=r"^change_reason: must not contain U\+0000$"):
        check(request)
