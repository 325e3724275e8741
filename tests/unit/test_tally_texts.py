"""The sums of contributions are computed by a function and by a fragment, which must agree."""

from __future__ import annotations

import re

from draftline_server.ops.resources import shipped
from draftline_server.store.statements import fragment

# Up to where the contributions come from.
KEYS_AND_MEASURES = re.compile(r"SELECT e.statistic_id, e.user_id, e.sign,.*?q.m4_path\) AS n4", re.DOTALL)


def test_function_and_fragment_compute_the_same_groups() -> None:
    function = (shipped("migrations") / "functions" / "statistics.sql").read_text()
    found = [KEYS_AND_MEASURES.findall(text) for text in (function, fragment("write_tail", "tally_groups"))]
    texts = [" ".join(each.split()) for matches in found for each in matches]
    assert len(texts) == 2
    assert texts[0] == texts[1]
