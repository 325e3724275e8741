"""The strings that are accepted for the members of enums, for type checkers and editors."""

from __future__ import annotations

from typing import Literal

StrategyName = Literal["shallow", "deep", "merge_patch", "replace"]
ConflictPolicyName = Literal["reject", "keep_mine", "keep_theirs"]
ImportModeName = Literal["upsert", "snapshot"]
ViewName = Literal["merged", "baseline", "drafts_only"]
SideName = Literal["mine", "theirs"]
