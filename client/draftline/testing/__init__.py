"""A service for tests: a real one, on a database of its own that is deleted afterwards.

Install `draftline[testing]`, and name this module in `conftest.py`:

    pytest_plugins = ["draftline.testing"]

A test then takes a client of a new tenant, so that it sees no data of other tests:

    def test_patch(draftline_client):
        draftline_client.create_content("movies", {"Title": "Alien"}, record_id="m-1")
        draftline_client.patch_content("movies", "m-1", {"Rating": 8.5})

One service is started for the whole test run (`draftline_service`). Without pytest, use `serving`:

    with draftline.testing.serving() as service, service.client() as client:
        client.create_content("movies", {"Title": "Alien"})
"""

from importlib.util import find_spec

from draftline.testing.service import Service, serving

if find_spec("pytest"):
    import pytest

    pytest.register_assert_rewrite("draftline.testing.upstream", "draftline.testing.upstream_steps")
    from draftline.testing.fixtures import draftline_client, draftline_service

    __all__ = ["Service", "draftline_client", "draftline_service", "serving"]
else:
    __all__ = ["Service", "serving"]
