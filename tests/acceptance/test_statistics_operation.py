"""Wrong and unfolded statistics as an operator sees and repairs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from draftline import Client, DeclaredStatistic
from support.metrics import Scrape, scrape
from support.polling import until
from support.server_process import invoked
from support.servers import RunningServer, cloned, run_sql, serving

STATISTICS = [DeclaredStatistic("gross", ("/Genre",), ("/Gross",)), DeclaredStatistic("day", ("/Day",))]
FIELDS = {"/Genre": "text", "/Gross": "number", "/Day": "date"}
FILMS = [(f"f-{number}", {"Genre": "Drama" if number % 2 else "Comedy", "Gross": number}) for number in range(10)]
WRONG = (
    "DELETE FROM draftline.tally WHERE user_id = 'ada' AND statistic_id = (SELECT statistic_id "
    "FROM draftline.statistic WHERE name = 'gross')",
    "UPDATE draftline.tally SET s1 = s1 + 1 WHERE user_id = '' AND k1 = 'Drama'",
    'UPDATE draftline.draft SET merged = \'{"Genre": "Horror", "Gross": -1}\' WHERE record_id = \'f-2\'',
)
APPEND = """INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
    SELECT tenant_id, statistic_id, '', 'Drama', n % 2 * 2 - 1 FROM draftline.statistic, generate_series(1, 3000) AS n
    WHERE name = 'gross'"""


@pytest.fixture
def url(postgres_url: str, template: str) -> Iterator[str]:
    """A database with statistics over ten records and two drafts."""
    with cloned(postgres_url, template) as found:
        with serving(found) as server, Client(server.address, tenant_id="acme", user="ada") as client:
            client.import_content("films", FILMS)
            client.put_collection("films", fields=FIELDS, statistics=STATISTICS)
            client.save_draft("films", "f-1", {"Gross": 100})
            client.save_draft("films", "f-2", {"Genre": "Drama"})
        yield found


def test_wrong_statistics_are_reported_repaired_and_gone(url: str) -> None:
    assert invoked("check", database_url=url).returncode == 0
    run_sql(url, *WRONG)
    found = invoked("check", database_url=url)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines[0] == 'the draft of "f-2" in "films", by "ada" of "acme", differs from its edit'
    assert sum(line.endswith("differs from the records, for the baseline") for line in lines) == 1
    assert any('["Comedy", null, null]' in line and line.endswith('for the drafts of "ada"') for line in lines)
    repaired = invoked("check", "--repair", "--json", database_url=url)
    assert repaired.returncode == 0
    *differences, summary = map(json.loads, repaired.stdout.splitlines())
    assert summary["remaining"] == 0
    assert summary["repaired"] == summary["differences"] == len(differences)
    assert invoked("check", database_url=url).returncode == 0
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        answered = client.statistics("films", measures=["count", "sum(/Gross)"], group_by=["/Genre"])
    assert answered.columns() == {
        "/Genre": ["Comedy", "Drama"], "count": [4, 6], "sum(/Gross)": [18, 126], "count baseline": [5, 5],
        "sum(/Gross) baseline": [20, 25], "count difference": [-1, 1], "sum(/Gross) difference": [-2, 101],
    }  # fmt: skip


@contextmanager
def serving_while(runner: asyncio.Runner, url: str, lock: str) -> Iterator[tuple[RunningServer, Callable[[], None]]]:
    """Serve a database while a transaction holds a lock, until it is released."""
    connection = runner.run(asyncpg.connect(url))
    transaction = connection.transaction()
    runner.run(transaction.start())
    runner.run(connection.fetch(lock))
    try:
        with serving(url, metrics_port=0) as server:
            yield server, lambda: runner.run(transaction.rollback())
    finally:
        runner.run(connection.close())


def test_metrics_show_rows_that_are_not_folded_while_a_fold_waits(url: str) -> None:
    run_sql(
        url, APPEND, "UPDATE draftline.statistic SET state = 'INVALID' WHERE name = 'day'",
        "UPDATE draftline.statistic SET folded_at = now() - interval '1 hour' WHERE name = 'gross'",
    )  # fmt: skip

    def read(server: RunningServer) -> Scrape:
        assert server.app.metrics_port is not None
        return scrape(server.app.metrics_port)

    def is_folded(server: RunningServer) -> bool:
        seen = read(server)
        return not seen.value("draftline_tally_rows_unfolded") and not seen.value("draftline_tally_fold_age_seconds")

    lock = "SELECT FROM draftline.statistic WHERE name = 'gross' FOR UPDATE"
    with asyncio.Runner() as runner, serving_while(runner, url, lock) as (server, release):
        until(lambda: read(server).value("draftline_tally_rows_unfolded") >= 3_000)
        first = read(server).value("draftline_tally_fold_age_seconds")
        assert first > 3_000
        until(lambda: read(server).value("draftline_tally_fold_age_seconds") > first)
        assert read(server).value("draftline_statistics_invalid") == 1
        assert "not folded" in invoked("doctor", database_url=url).stdout
        release()
        until(lambda: is_folded(server))
