"""`draftline patch`: each line is applied by itself, in the order of its record, and a run can be repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from draftline_server.cli import main
from support.responses import Records

INCREMENT = '{"record_id": "a", "operations": [{"op": "increment", "path": "/n", "value": 1}]}\n'


@pytest.fixture
def run(server: Any, records: Records, tmp_path: Path) -> Any:
    def invoke(text: str | bytes, *arguments: str) -> Any:
        path = tmp_path / "patches.ndjson"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        where = ("--address", server.address, "--tenant", records.tenant_id, "--collection", records.collection)
        return CliRunner().invoke(main, ["patch", str(path), *where, *arguments])

    return invoke


def test_patches_are_applied_in_the_order_of_the_file(run: Any, records: Records) -> None:
    lines = [
        {"record_id": "a", "delta": {"n": 1, "seen": []}, "allow_missing": True},
        *({"record_id": "a", "operations": [{"op": "add", "path": "/seen/-", "value": n}]} for n in range(20)),
        {"record_id": "a", "delta": {"n": None}, "strategy": "merge_patch", "expected_version": 21},
        {"record_id": "b", "collection": "other", "delta": {}, "allow_missing": True, "position": 3},
    ]
    ended = run("\n".join(map(json.dumps, lines)) + "\n\n")
    assert (ended.exit_code, ended.stdout) == (0, "23 patches applied, 0 failed\n"), ended.output
    assert records.content("a") == {"seen": list(range(20))}


def test_numbers_keep_every_digit(run: Any, records: Records) -> None:
    digits = "0.12345678901234567890123456789"
    assert not run(f'{{"record_id": "a", "delta": {{"n": {digits}}}, "allow_missing": true}}').exit_code
    assert digits in records.get("a").content.json


def test_failed_lines_are_named_and_do_not_stop_the_others(run: Any, records: Records) -> None:
    records.create("a", {"n": 1})
    wrong = ['{"record_id": "none", "delta": {"n": 1}}', "{", "[]", '{"record_id": "a", "dleta": {}}', '{"delta": {}}',
             '{"record_id": "a", "operations": {"op": "remove"}}', '{"record_id": "a", "depth": "x"}',
             '{"record_id": "a", "delta": {}, "expected_version": 1.5}', '{"record_id": "a", "strategy": "no"}',
             '{"record_id": "a", "operations": [{"op": "remove"}]}', '{"record_id": 1}']  # fmt: skip
    ended = run("\n".join(wrong) + "\n" + INCREMENT, "--json")
    result = json.loads(ended.stdout)
    assert (ended.exit_code, result["succeeded"], result["failed"]) == (1, 1, len(wrong))
    assert sorted(failure["line"] for failure in result["failures"]) == list(range(1, len(wrong) + 1))
    (missing,) = (failure for failure in result["failures"] if failure["line"] == 1)
    assert (missing["code"], missing["reason"], missing["record_id"]) == ("NOT_FOUND", "RECORD_NOT_FOUND", "none")
    assert "line 4: unknown field 'dleta'" in ended.stderr
    assert "line 5: field record_id: must contain the id" in ended.stderr
    assert f"Error: {len(wrong)} patches failed" in ended.stderr
    assert records.content("a") == {"n": 2}


def test_run_that_is_repeated_with_its_id_applies_each_patch_once(run: Any, records: Records) -> None:
    records.create("a", {"n": 0})
    run(INCREMENT * 5, "--run-id", "nightly")
    again = run(INCREMENT * 8, "--run-id", "nightly")
    assert again.stdout == "8 patches applied, 0 failed\n"
    assert records.content("a") == {"n": 8}
    run(INCREMENT)
    run(INCREMENT)
    assert records.content("a") == {"n": 10}


def test_file_of_failures_can_be_run_again_without_repeating_a_patch(
    run: Any, records: Records, tmp_path: Path
) -> None:
    records.create("a", {"n": 0.10})
    failed = tmp_path / "failed.ndjson"
    late = '{"record_id": "late", "delta": {"n": 0.12345678901234567890123}}\n'
    assert run(INCREMENT + late + "{\n", "--failures", str(failed)).exit_code == 1
    lines = [json.loads(line) for line in failed.read_text().splitlines()]
    assert sorted((line["line"], line.get("record_id")) for line in lines) == [(2, "late"), (3, None)]
    records.create("late", {})
    text = next(line for line in failed.read_text().splitlines() if "late" in line)
    for _ in range(2):
        assert not run(text).exit_code
    assert records.get("late").version == 2
    assert "0.12345678901234567890123" in records.get("late").content.json


def test_file_of_failures_does_not_overwrite_the_patches(run: Any, tmp_path: Path) -> None:
    ended = run(INCREMENT, "--failures", str(tmp_path / "patches.ndjson"))
    assert ended.exit_code == 2
    assert (tmp_path / "patches.ndjson").read_text() == INCREMENT


def test_dry_run_validates_and_changes_nothing(run: Any, records: Records) -> None:
    records.create("a", {"n": 1})
    ended = run(INCREMENT * 2 + '{"record_id": "none", "delta": {}}', "--dry-run")
    assert (ended.exit_code, ended.stdout) == (1, "2 patches would succeed, 1 failed\n")
    assert records.content("a") == {"n": 1}


def test_file_that_ends_in_invalid_text_is_applied_up_to_it(run: Any, records: Records) -> None:
    records.create("a", {"n": 0})
    ended = run(INCREMENT.encode() + b'{"record_id": "\xff"}\n')
    assert (ended.exit_code, ended.stdout) == (1, "1 patches applied, 0 failed\n")
    assert "line 2, byte " in ended.stderr
    assert records.content("a") == {"n": 1}


@pytest.mark.usefixtures("short_pauses")
def test_unreachable_service_ends_the_run_with_its_status(tmp_path: Path) -> None:
    (tmp_path / "p.ndjson").write_text(INCREMENT * 3)
    ended = CliRunner().invoke(
        main, ["patch", str(tmp_path / "p.ndjson"), "--tenant", "t", "--collection", "c", "--address", "127.0.0.1:1"]
    )
    assert ended.exit_code == 3
    assert "patches applied" in ended.stdout
