"""The stored forms of a sync's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...domain.sync import BoundCollection, FieldDirection, MappedField, Policies, Policy, PolicyRule, SyncSpec


def fields_json(fields: Sequence[MappedField]) -> str | None:
    """Return the fields as the functions of functions/sync.sql take them; None for the whole content."""
    if not fields:
        return None
    return json.dumps([{"path": list(each.path), "direction": each.direction} for each in fields])


def policies_json(policies: Policies) -> str:
    """Return policies as draftline.sync_policy takes them."""
    return json.dumps({
        "default": policies.default,
        "rules": [{"path": list(rule.path), "policy": rule.policy, "exact": rule.exact} for rule in policies.rules],
    })  # fmt: skip


def config_of_spec(spec: SyncSpec) -> str:
    return json.dumps({
        "pull_interval_s": spec.pull_interval_s, "snapshot_interval_s": spec.snapshot_interval_s, "push": spec.push,
        "pull": spec.pull, "accept_overwrites": spec.accept_overwrites, "batch_by_commit": spec.batch_by_commit,
    })  # fmt: skip


def config_of_collection(bound: BoundCollection) -> str:
    return json.dumps({
        "resource": bound.resource,
        "fields": [{
            "path": list(each.path), "remote": each.remote, "direction": each.direction, "type": each.type,
            "format": each.format, "values": dict(each.values),
        } for each in bound.fields],
        "policies": json.loads(policies_json(bound.policies)),
    })  # fmt: skip


def collection_of(collection: str, config: str) -> BoundCollection:
    """Return a collection from its stored configuration."""
    stored: Mapping[str, Any] = json.loads(config)
    return BoundCollection(
        collection,
        stored["resource"],
        tuple(
            MappedField(
                tuple(each["path"]), each["remote"], FieldDirection(each["direction"]), each["type"], each["format"],
                each["values"],
            )
            for each in stored["fields"]
        ),
        Policies(
            Policy(stored["policies"]["default"]),
            tuple(
                PolicyRule(tuple(rule["path"]), Policy(rule["policy"]), rule.get("exact", False))
                for rule in stored["policies"]["rules"]
            ),
        ),
    )  # fmt: skip


def spec_of(upstream: str, endpoint: str, config: str, collections: Sequence[BoundCollection]) -> SyncSpec:
    stored: Mapping[str, Any] = json.loads(config)
    return SyncSpec(
        upstream,
        endpoint,
        tuple(collections),
        stored["pull_interval_s"],
        stored["snapshot_interval_s"],
        stored["push"],
        stored["pull"],
        stored["accept_overwrites"],
        stored.get("batch_by_commit", False),
    )
