"""URLs of requests: templates of RFC 6570, level 1, and links that an API returns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit

from draftline.upstreams import UnreachableError

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_LINK = re.compile(r"<([^>]*)>([^,<]*)")


class InvalidUrlError(ValueError):
    """A value cannot be a part of a URL."""


def check_template(template: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError if a template has a variable that is not allowed, or leaves its base URL."""
    for name in _VARIABLE.findall(template):
        if name not in allowed:
            raise ValueError(f"url: {{{name}}} is not one of {', '.join(f'{{{each}}}' for each in allowed)}")
    rest = _VARIABLE.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError("url: has a brace without its counterpart")
    path = rest.partition("?")[0]
    if "://" in path or rest.startswith("//") or ".." in path.split("/") or "#" in rest:
        raise ValueError("url: must be relative to base_url")


def expand(base_url: str, template: str, values: Mapping[str, str]) -> str:
    """Return the URL of a template below the base URL. Every value is percent-encoded, and a missing one is empty.

    A value between quotes is escaped, so that it stays within them: single quotes are doubled, as in OData; a double
    quote and a backslash get a backslash, as in SCIM.

    Raises InvalidUrlError if a value would be a segment that leads to another path.
    """

    def encoded(match: re.Match[str]) -> str:
        value = _escaped(values.get(match[1], ""), template[: match.start()])
        if value in (".", ".."):
            raise InvalidUrlError("the id cannot be a part of a URL")
        try:
            return quote(value, safe="")
        except UnicodeEncodeError:
            raise InvalidUrlError("the id cannot be a part of a URL") from None

    return f"{base_url.rstrip('/')}/{_VARIABLE.sub(encoded, template).lstrip('/')}"


def _escaped(value: str, before: str) -> str:
    if before.endswith(("'", "%27")):
        return value.replace("'", "''")
    if before.endswith(('"', "%22")):
        return value.replace("\\", "\\\\").replace('"', '\\"')
    return value


def follow(base_url: str, current_url: str, link: object) -> str:
    """Return the absolute URL of a link. Raise UnreachableError if it leads to another origin than the base URL.

    So an API cannot send the credentials to another host.
    """
    if not isinstance(link, str):
        raise UnreachableError("the link to the next page is not a text")
    url = urljoin(current_url, link)
    if _origin(url) != _origin(base_url):
        raise UnreachableError("the link to the next page leads to another host")
    return url


def linked_next(header: str) -> str | None:
    """Return the target of `rel="next"` in a Link header (RFC 8288)."""
    for target, parameters in _LINK.findall(header):
        if re.search(r';\s*rel\s*=\s*"?(?:[^"]*\s)?next(?:\s|"|;|$)', parameters, re.IGNORECASE):
            return str(target)
    return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", None, None)
    if "@" in parts.netloc:  # a user in a link would replace the credentials of the endpoint
        return ("", None, None)
    return (parts.scheme, parts.hostname, port)
