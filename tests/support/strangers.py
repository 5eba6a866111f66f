"""A cluster in which something is hidden, and those who ask for it: without a key, with one for something else, with the right.

`prepare` makes it on a cluster that asks for keys. What is hidden lies in containers that one key reads and the others do not
reach. To everything hidden there is a ghost, of the same length and the same shape, which is nowhere: whoever has no right to
the one is told of both the same.
"""

from __future__ import annotations

import enum
import json
import random
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from ambry.clock import SystemClock
from ambry.ids import BlobId, uuid7
from deploy.local_cluster import LocalCluster
from tests.support.rest import Answer, call
from tests.support.waiting import eventually

MARKER = b"nobody-without-the-key-sees-this"
ACCOUNT = b"vault"
CONTAINERS = (b"plain", b"seald")
"""Equally long; the second is encrypted."""
UNSPOKEN = "plans/unspoken-2f9c77"
"""A name that no request ever says."""
JSON = {"Content-Type": "application/json"}
LARGE_SIZE = 5 << 20


class Sender(enum.Enum):
    """Who a request comes from."""

    NOBODY = "without a key"
    FOREIGN = "with a key for something else"
    RIGHT = "with a key that reads what is hidden, and does all in the default container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What is hidden, or its ghost, as it stands in requests. Each has the length of its ghost."""

    ids: tuple[bytes, ...]
    names: tuple[bytes, ...]
    """account/container/name."""
    upload: bytes
    chunk: bytes
    """A signed chunk id, with its path."""
    account: bytes
    container: bytes
    signed: tuple[bytes, ...]
    """Targets that read some of it, signed for whoever has them."""

    @property
    def texts(self) -> tuple[bytes, ...]:
        """All that tells it from a ghost, the longest first."""
        return tuple(sorted({*self.signed, *self.ids, *self.names, self.upload, self.chunk}, key=len, reverse=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """Who asks, for what. `near` are ghosts in the containers of what is hidden, `far` are in containers that are none."""

    hidden: Hidden
    near: Hidden
    far: Hidden
    keys: Mapping[Sender, tuple[bytes, ...]]
    markers: tuple[bytes, ...]
    """Of what is hidden: in no answer to whoever may not have it."""

    def haunted(self, raw: bytes, ghosts: Hidden) -> bytes:
        """These bytes with ghosts in the place of what is hidden."""
        for real, ghost in zip(_all(self.hidden), _all(ghosts), strict=True):
            raw = raw.replace(real, ghost)
        return raw

    def holds_a_key(self, raw: bytes) -> bool:
        """Whether a key that reads what is hidden stands in these bytes."""
        return any(key in raw for key in self.keys[Sender.RIGHT])


def _all(hidden: Hidden) -> list[bytes]:
    return [
        *hidden.signed,
        *hidden.ids,
        *hidden.names,
        hidden.upload,
        hidden.chunk,
        b"/" + hidden.account + b"/",
        hidden.account,
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One thing hidden, and how it reads for its owner."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Keeper:
    """Whoever hid it: makes it, and sees that it stays."""

    def __init__(self, cluster: LocalCluster) -> None:
        frontend = cluster.frontends()[0]
        self._url = frontend.url
        text = cluster.directory.joinpath("admin.key").read_text("utf-8").strip()
        self._own = {"Authorization": f"Bearer {text}"}
        self.tls = trusted(cluster)
        self.watched: list[Watched] = []

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """As the administrator."""
        return call(self._url, method, path, body, {**self._own, **(headers or {})}, tls=self.tls)

    def told(self, method: str, path: str, said: Any, headers: Mapping[str, str] | None = None) -> Any:
        """The same with JSON in and out; it must succeed."""
        answer = self.call(method, path, json.dumps(said).encode(), {**JSON, **(headers or {})})
        assert answer.status in (200, 201), (method, path, answer.status, answer.body)
        return answer.json()

    def key(self, name: str, *grants: Mapping[str, Any]) -> bytes:
        return str(self.told("POST", "/keys", {"name": name, "grants": grants})["key"]).encode()

    def watch(self, path: str, body: bytes) -> None:
        answer = self.call("GET", path)
        assert (answer.status, answer.body) == (200, body), (path, answer.status)
        self.watched.append(Watched(path=path, headers=_lasting(answer), body=body))

    def changed(self) -> list[str]:
        """What is not as it was made, one line each."""
        found = []
        for each in self.watched:
            answer = self.call("GET", each.path)
            if answer.status != 200 or answer.body != each.body:
                found.append(f"{each.path} reads {answer.status} with {len(answer.body)} bytes")
            elif _lasting(answer) != each.headers:
                found.append(f"{each.path} has other headers: {_lasting(answer)}, and had {each.headers}")
        return found


def _lasting(answer: Answer) -> dict[str, str]:
    passing = ("date", "x-ambry-answered-ms", "x-ambry-request-id", "connection", "keep-alive")
    return {name.lower(): value for name, value in answer.headers.items() if name.lower() not in passing}


def trusted(cluster: LocalCluster) -> ssl.SSLContext | None:
    """What clients of a cluster in TLS trust; None for one in the clear."""
    if not cluster.frontends()[0].tls:
        return None
    return ssl.create_default_context(cafile=str(cluster.directory / "certs" / "authority.crt"))


def prepare(cluster: LocalCluster, source: random.Random) -> tuple[Strangers, Keeper]:
    """Hide something in a cluster that asks for keys."""
    keeper = Keeper(cluster)
    account, plain, sealed = ACCOUNT.decode(), CONTAINERS[0].decode(), CONTAINERS[1].decode()
    for name in (account, "other"):
        keeper.told("POST", "/accounts", {"accounts": [{"accountName": name}]})
    for name, made in (
        (account, [{"containerName": plain}, {"containerName": sealed, "encrypted": True}]),
        ("other", [{"containerName": "other"}]),
        ("default", [{"containerName": "beside"}]),
    ):
        keeper.told("POST", "/accounts/containers", {"containers": made}, {"x-ambry-target-account-name": name})
    keys = _keys(keeper, account, plain)

    small = MARKER * 9
    large = MARKER * (LARGE_SIZE // len(MARKER)) + b"."
    ids, names = [], []
    for container in (plain, sealed):
        into = {"x-ambry-target-account-name": account, "x-ambry-target-container-name": container}
        into |= {"x-ambry-filename": f"{MARKER.decode()}.bin", "x-ambry-um-about": MARKER.decode()}
        for body in (small, large) if container == plain else (small,):
            ids.append(keeper.call("POST", "/", body, into).blob_id)
            keeper.watch(f"/{ids[-1]}", body)
        for name in ("plans/alpha", UNSPOKEN):
            keeper.call("PUT", f"/named/{account}/{container}/{name}", small, {"x-ambry-um-about": MARKER.decode()})
            keeper.watch(f"/named/{account}/{container}/{name}", small)
        names.append(f"{account}/{container}/plans/alpha")
    into = {"x-ambry-target-account-name": account, "x-ambry-target-container-name": plain}
    lives: Sequence[Mapping[str, str]] = ({}, {"x-ambry-ttl": "1"})
    ids += [keeper.call("POST", "/", small, {**into, **life}).blob_id for life in lives]
    assert keeper.call("DELETE", f"/{ids[-2]}").status == 202
    eventually(lambda: keeper.call("GET", f"/{ids[-1]}").status == 410, "it has expired")
    begun = keeper.call("POST", "/uploads", None, into)
    upload = str(begun.json()["upload"])
    assert keeper.call("PUT", f"/uploads/{upload}/1", small).status == 200
    chunk = {"x-ambry-chunk-upload": "true", "x-ambry-session": "s", "x-ambry-max-upload-size": str(1 << 20)}
    signed_id = keeper.call("POST", "/", small, {**into, **chunk}).headers["Location"]

    def sign(path: str) -> bytes:
        answer = keeper.call("GET", f"/signedUrl?{urlencode({'path': path})}")
        assert answer.status == 200, answer.body
        return str(answer.json()["target"]).encode()

    def ghost(text: str, **elsewhere: int) -> str:
        real = BlobId.parse(text)
        places = {"account": real.account, "container": real.container, **elsewhere}
        uuid = uuid7(SystemClock().wall_ms(), source)
        made = BlobId.make(kind=real.kind, datacenter=real.datacenter, partition=real.partition, uuid=uuid, **places)
        return str(made)

    def like(text: str) -> str:
        """Other digits of the same kind."""
        kinds = ("0123456789", "abcdef")
        return "".join(next((source.choice(kind) for kind in kinds if each in kind), each) for each in text)

    def hidden(ids: Sequence[str], names: Sequence[str], upload: str, chunk: str, **rest: Any) -> Hidden:
        return Hidden(
            ids=tuple(map(str.encode, ids)),
            names=tuple(map(str.encode, names)),
            upload=upload.encode(),
            chunk=chunk.encode(),
            **rest,
        )

    place = {"account": ACCOUNT, "container": CONTAINERS[0]}
    real = hidden(ids, names, upload, signed_id, **place, signed=(sign(f"/{ids[0]}"), sign(f"/named/{names[0]}")))
    near_ids = [ghost(each) for each in ids]
    near_names = [each.replace("alpha", "omega") for each in names]
    near = hidden(
        near_ids,
        near_names,
        like(upload),
        like(signed_id),
        **place,
        signed=(sign(f"/{near_ids[0]}"), sign(f"/named/{near_names[0]}")),
    )
    nowhere = {"account": 0x7FF1, "container": 0x7FF1}
    far = replace(
        near,
        ids=tuple(ghost(each, **nowhere).encode() for each in ids),
        names=tuple(each.replace(ACCOUNT, b"fault") for each in near.names),
        account=b"fault",
    )
    assert [len(each) for each in _all(real)] == [len(each) for each in _all(near)] == [len(each) for each in _all(far)]
    return Strangers(hidden=real, near=near, far=far, keys=keys, markers=(MARKER, UNSPOKEN.encode())), keeper


def _keys(keeper: Keeper, account: str, container: str) -> dict[Sender, tuple[bytes, ...]]:
    most = ["read", "write", "delete", "name"]
    own = {"account": "default", "container": "default", "roles": most}
    revoked = keeper.key("revoked", {"roles": [*most, "admin"]})
    assert keeper.call("DELETE", f"/keys/{revoked.decode().split('_')[1]}").status == 204
    return {
        Sender.NOBODY: (revoked, b"ambry_" + b"a" * 16 + b"_" + b"A" * 43),
        Sender.FOREIGN: (
            keeper.key("other account", {"account": "other", "container": "*", "roles": [*most, "admin"]}),
            keeper.key("container beside", {"account": "default", "container": "beside", "roles": most}),
            keeper.key("some names", {"account": account, "container": container, "prefix": "open/", "roles": most}),
        ),
        Sender.RIGHT: (keeper.key("right", own, {"account": account, "roles": ["read"]}),),
    }
