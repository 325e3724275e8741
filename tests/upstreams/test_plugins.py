"""Connectors of installed packages are found by their entry point."""

from __future__ import annotations

from pathlib import Path

import pytest
from draftline.upstreams import CollectionBinding
from draftline_server.upstreams.registry import Upstreams
from support.toy_upstream import endpoints

MODULE = """
def connect(endpoint, tenant_id, bindings):
    if "shelf" not in endpoint.options:
        raise ValueError("options.shelf: is missing")
    return endpoint, tenant_id, bindings
"""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with a connector."""
    (tmp_path / "shelf_connector.py").write_text(MODULE)
    metadata = tmp_path / "shelf_connector-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf-connector\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[draftline.upstreams]\nshelf = shelf_connector:connect\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("_installed")
def test_connector_of_a_package_gets_its_options_and_secrets() -> None:
    definition = {"kind": "shelf", "tenants": ["acme"], "options": {"shelf": 3}, "secret_files": {"key": "shelf.key"}}
    upstreams = Upstreams(lambda: endpoints({"shelf.key": "a-secret"}, shelf=definition))
    binding = CollectionBinding(collection="parts")
    endpoint, tenant_id, bindings = upstreams.open("shelf", "acme", [binding])  # type: ignore[misc]
    assert (endpoint.name, endpoint.options, endpoint.secrets["key"].reveal()) == ("shelf", {"shelf": 3}, "a-secret")
    assert (tenant_id, list(bindings)) == ("acme", [binding])
    assert "a-secret" not in repr(endpoint)


@pytest.mark.usefixtures("_installed")
def test_invalid_option_names_the_endpoint() -> None:
    upstreams = Upstreams(lambda: endpoints(mine={"kind": "shelf", "tenants": ["acme"]}))
    with pytest.raises(ValueError, match=r"^endpoint 'mine': options\.shelf: is missing$"):
        upstreams.open("mine", "acme", [])


def test_kind_without_a_package_is_an_error() -> None:
    upstreams = Upstreams(lambda: endpoints(mine={"kind": "shelf", "tenants": ["acme"]}))
    with pytest.raises(ValueError, match="no installed package has the entry point 'shelf'"):
        upstreams.open("mine", "acme", [])
