"""Write the table of settings in README.md, or check it with --check."""

from __future__ import annotations

import sys
from pathlib import Path

from draftline_server.settings import SETTINGS
from draftline_server.settings.problems import range_of

README = Path(__file__).parent.parent / "README.md"
HEAD = "| name | default | range | meaning |\n| --- | --- | --- | --- |\n"


def table() -> str:
    rows = [
        f"| `{name}` | {_shown(setting.info.default)} | {range_of(setting)} | {setting.info.description} |\n"
        for name, setting in SETTINGS.items()
    ]
    return HEAD + "".join(rows)


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "" if default in (None, "") else f"`{default}`"


def main() -> None:
    text = README.read_text()
    head, _, rest = text.partition(HEAD)
    _, separator, tail = rest.partition("\n\n")
    written = head + table() + separator.removeprefix("\n") + tail
    if "--check" in sys.argv[1:]:
        if written != text:
            sys.exit("README.md does not have the current settings: run `make generate`")
        return
    README.write_text(written)


if __name__ == "__main__":
    main()
