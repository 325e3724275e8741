"""`draftline generate`: write typed models from a collection spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import jsonschema_rs
from draftline import Client, Collection, NotFoundError, View

from ..contracts.declared import content_schema
from ..contracts.generation import BY_SUFFIX, ContractKind, contract, difference
from ..contracts.naming import class_name as checked_name
from .app import reporting
from .client import with_client
from .terminal_text import echo

MAX_BROKEN = 100  # records that --verify prints


@click.command("generate")
@click.option("--collection", required=True, help="The collection whose spec is read.")
@click.option("--to", "target", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), required=True,
              help="The file to write; - for standard output.")  # fmt: skip
@click.option("--kind", type=click.Choice([each.value for each in ContractKind]),
              help="Default: dataclass for .py, typescript for .ts, json-schema for .json.")  # fmt: skip
@click.option("--class-name", metavar="NAME", help="Name of the model. Default: the singular of the collection.")
@click.option("--check", is_flag=True, help="Write nothing; fail if the file is not what would be written.")
@click.option("--verify", is_flag=True, help="Also read all records; fail and name those that break the contract.")
@reporting
@with_client
def generate_command(
    client: Client, *, collection: str, target: Path, kind: str | None, class_name: str | None, check: bool,
    verify: bool,
) -> None:  # fmt: skip
    """Write typed models or a JSON Schema from a collection spec.

    The models are in Python or TypeScript.
    The same spec always makes the same file. Its header has the version and the digest of the spec.
    """
    if class_name is not None and checked_name(class_name) != class_name:
        raise click.UsageError(f"--class-name: {class_name!r} is not a class name; use {checked_name(class_name)!r}")
    if check and str(target) == "-":
        raise click.UsageError("--check compares a file: --to must name it")
    spec = _spec(client, collection)
    text = contract(spec, _kind(kind, target), class_name)
    if check:
        if problem := difference(target, text):
            raise click.ClickException(f"{problem}. Run `draftline generate` without --check, and commit the file.")
        echo(f"{target} is the contract of version {spec.version}.", err=True)
    elif str(target) == "-":
        echo(text, nl=False)
    else:
        target.write_text(text, encoding="utf-8")
        echo(f"{target} was written from version {spec.version} of the spec of {collection}.", err=True)
    if verify:
        _verify(client, spec)


def _kind(kind: str | None, target: Path) -> ContractKind:
    if kind is not None:
        return ContractKind(kind)
    if target.suffix not in BY_SUFFIX:
        raise click.UsageError(f"--to: the suffix of {str(target)!r} decides no kind; pass --kind")
    return BY_SUFFIX[target.suffix]


def _spec(client: Client, collection: str) -> Collection:
    """Return the spec. Raise ClickException if there is none, or if it describes no content."""
    advice = f"`draftline collections infer {collection} --all --apply` proposes one"
    try:
        found = client.get_collection(collection)
    except NotFoundError as error:
        raise click.ClickException(f"the collection {collection!r} has no spec; {advice}") from error
    if not found.fields and not found.json_schema:
        raise click.ClickException(f"the spec of {collection!r} has neither fields nor a JSON Schema; {advice}")
    return found


def _verify(client: Client, spec: Collection) -> None:
    """Print each record that breaks the contract, with the paths. Raise ClickException if there are any."""
    validator = jsonschema_rs.validator_for(content_schema(spec))
    count = broken = 0
    for each in client.stream_merged(spec.collection, view=View.BASELINE):
        count += 1
        problems = list(validator.iter_errors(each.content))
        broken += bool(problems)
        if problems and broken <= MAX_BROKEN:
            for problem in problems:
                echo(f"{each.record_id}: {_pointer(problem)}: {problem.message}", err=True)
    if broken:
        raise click.ClickException(f"{broken:,} of {count:,} records break the contract")
    echo(f"All {count:,} records satisfy the contract.", err=True)


def _pointer(problem: Any) -> str:
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in problem.instance_path) or "content"
