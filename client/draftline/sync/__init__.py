"""The blocking client."""

from __future__ import annotations

from draftline.sync.collection import CollectionMethods
from draftline.sync.content import ContentMethods
from draftline.sync.drafts import DraftMethods
from draftline.sync.merged import MergedMethods
from draftline.sync.session import Session


class Client(ContentMethods, CollectionMethods, DraftMethods, MergedMethods):
    """A blocking client, safe to share between threads. Use it in a `with` block, or `close` it.

        with draftline.Client("127.0.0.1:50051", tenant_id="acme", user="ada") as client:
            client.patch_content("movies", "m-1", {"Title": "Alien"})

    Every method takes `tenant_id`, which stands in for the client's own, and `timeout` in
    seconds (None: any time). What fails raises a subclass of `DraftlineError`; arguments
    that cannot be sent raise ValueError or TypeError.
    """


__all__ = ["Client", "Session"]
