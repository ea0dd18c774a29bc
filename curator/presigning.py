"""URLs under which an object store itself serves a file for a while, to whoever has them.

Knows S3's addresses and where credentials are found (botocore's chain: environment, profile, role); nothing of shards.
Needs the extra `s3`; without it, and for stores that are no S3, there is none to be had.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from curator.errors import RequestError
from curator.storage import Store

__all__ = ["Presigner", "presigner_of"]


class Presigner:
    """Signs for one store. Threads may share it."""

    def __init__(self, client: Any, bucket: str, prefix: str):
        self._client, self._bucket, self._prefix = client, bucket, prefix

    def url(self, name: str, expires_s: int) -> str:
        """Where a GET finds the file for `expires_s` seconds, Range included. Raises RequestError without credentials
        to sign with. The store is not asked: a file that is not there has a URL too."""
        from botocore.exceptions import BotoCoreError

        key = f"{self._prefix}/{name}".lstrip("/")
        try:
            place = {"Bucket": self._bucket, "Key": key}
            return str(self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=expires_s))
        except BotoCoreError as error:
            raise RequestError(f"no URL can be signed for bucket {self._bucket}: {error}") from error


@lru_cache(maxsize=16)
def presigner_of(store: Store) -> Presigner | None:
    """None for a local store, a store that is no S3, or where botocore is not installed."""
    if store.is_local or not store.uri.startswith("s3://"):
        return None
    try:
        import botocore.config
        import botocore.session
    except ImportError:
        return None
    parts = urlsplit(store.uri)
    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    endpoint = said.get("endpoint_override")
    url = None if endpoint is None else f"{said.get('scheme', 'https')}://{endpoint.partition('://')[2] or endpoint}"
    style = {"addressing_style": "path" if endpoint is not None else "auto"}
    client = botocore.session.get_session().create_client(
        "s3",
        region_name=said.get("region"),
        endpoint_url=url,
        aws_access_key_id=parts.username,
        aws_secret_access_key=parts.password,
        config=botocore.config.Config(signature_version="s3v4", s3=style),
    )
    bucket, _, prefix = store.base.partition("/")
    return Presigner(client, bucket, prefix)
