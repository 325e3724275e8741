"""`draftline tenants` and `draftline tenant-quotas`: list the tenants and what they use, and set their quotas."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click
from draftline import Client, TenantQuotas
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_operator_client
from .terminal_text import echo_json, echo_result


@click.command("tenants")
@json_option
@reporting
@with_operator_client
def tenants_command(client: Client, *, as_json: bool) -> None:
    """Print the tenants and what each uses, as of the last count.

    The token must be a service key for all tenants with the permission tenants:read. With --json, print one object per
    line.
    """
    found = client.list_tenants(page_size=1_000)
    if as_json:
        for each in found:
            counted = each.count_time.isoformat() if each.count_time else None
            echo_json(json.dumps({**asdict(each), "count_time": counted}))
        return
    table = Table("tenant")
    for title in ("collections", "records", "bytes", "drafts", "counted", "quotas"):
        table.add_column(title, justify="right")
    for each in found:
        if each.count_time is None:
            table.add_row(each.tenant_id, "", "", "", "", "not yet", _text(each.quotas))
            continue
        figures = (each.collection_count, each.record_count, each.content_bytes, each.draft_count)
        counted = f"{each.count_time:%Y-%m-%d %H:%M:%S}"
        table.add_row(each.tenant_id, *(f"{figure:,}" for figure in figures), counted, _text(each.quotas))
    result_console().print(table)


def _text(quotas: TenantQuotas) -> str:
    """Return the quotas that limit a tenant; those of its own are marked."""
    limits = {"records": "max_record_count", "bytes": "max_content_bytes", "drafts": "max_draft_count"}
    shown = []
    for name, field in limits.items():
        limit, is_own = getattr(quotas, field), field in quotas.overridden
        if limit or is_own:
            shown.append(f"{f'{limit:,}' if limit else 'unlimited'} {name}{' (own)' if is_own else ''}")
    return ", ".join(shown)


class _Limit(click.ParamType[int]):
    """A quota: a number, `none`, or `default` for that of the settings."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        words = {"none": 0, "default": -1}
        if value in words:
            return words[value]
        digits = str(value).replace("_", "").replace(",", "")
        if not (digits.isascii() and digits.isdecimal() and 0 < int(digits) < 2**63):
            message = f"{value!r} is not a number from 1, none (no limit) or default (that of the settings)"
            self.fail(message, param, ctx)
        return int(digits)


@click.command("tenant-quotas")
@click.argument("tenant_id", metavar="TENANT")
@click.option("--records", type=_Limit(), help="The maximum number of records.")
@click.option("--bytes", "content_bytes", type=_Limit(), help="The maximum of the bytes of contents, as stored.")
@click.option("--drafts", type=_Limit(), help="The maximum number of drafts of all users.")
@json_option
@reporting
@with_operator_client
def tenant_quotas_command(
    client: Client, *, tenant_id: str, records: int | None, content_bytes: int | None, drafts: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Set the quotas of one tenant.

    They override those of the settings. Each is a number, none (no limit) or default (that of the settings); one that
    is not given stays as it is. They apply within ten seconds. The token must be a service key for all tenants with the
    permission tenants:write.

    \b
    Examples:
      draftline tenant-quotas acme --records 5000000 --drafts none
      draftline tenant-quotas acme --records default
    """
    if records is None and content_bytes is None and drafts is None:
        raise click.UsageError("pass at least one of --records, --bytes and --drafts")
    quotas = client.set_tenant_quotas(
        tenant_id, max_record_count=records, max_content_bytes=content_bytes, max_draft_count=drafts
    )
    echo_result(asdict(quotas), f"{tenant_id}: {_text(quotas) or 'no limits'}", as_json=as_json)
