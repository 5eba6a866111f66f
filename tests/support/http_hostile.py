"""What strangers send: keys bent and spliced, signed URLs that were changed, and calls about what is hidden from them.

Templates and twists for tests/support/http_grammar.py. None of them looks at what the hidden things are, only at how long they
are, so that a case can be drawn again about ghosts.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence

from tests.support.http_grammar import Draft, Grammar, Places, Template, Twist, common
from tests.support.strangers import Hidden, Sender, Strangers

MOST_KEYS_SENT_WELL = 0.8


def hostile_grammar(source: random.Random, places: Places) -> Grammar:
    """Draws cases in which each request is of somebody."""
    return Grammar(source, places, strange=TEMPLATES, strange_twists=TWISTS, sent_by=_sent_by)


def _who(places: Places) -> tuple[Strangers, Hidden]:
    assert places.strangers is not None and places.hidden is not None
    return places.strangers, places.hidden


# --- who sends it ---


def _sent_by(source: random.Random, draft: Draft, places: Places) -> None:
    strangers, _ = _who(places)
    # What is ordinary needs the right key to work; what is hidden is mostly asked for by those who have it not.
    weights = (55, 40, 5) if draft.hidden else (20, 15, 65)
    sender = source.choices(tuple(Sender), weights)[0]
    if sender is Sender.NOBODY and source.random() < 0.7:
        return
    key = source.choice(strangers.keys[sender])
    lines = [b"Authorization: Bearer " + key]
    if source.random() > MOST_KEYS_SENT_WELL:
        lines = _bent_key(source, key, strangers)
    draft.replace(b"Authorization", *lines)


def _bent_key(source: random.Random, key: bytes, strangers: Strangers) -> list[bytes]:
    at = source.randrange(len(key))
    other = source.choice(strangers.keys[source.choice(tuple(Sender))])
    own, strange = key.split(b"_", 2), other.split(b"_", 2)
    head = b"Authorization: "
    one: Sequence[bytes] = (
        head + b"bearer " + key,
        head + b"BEARER  " + key + b" ",
        head + b"Bearer\t" + key,
        head + b"Bearer" + key,
        head + key,
        head + b"Basic " + base64.b64encode(b"x:" + key),
        head + b"Digest username=" + key,
        head + b"Bearer " + key + b", Bearer " + other,
        head + b"Bearer " + key + b" " + other,
        head + b'Bearer "' + key + b'"',
        head + b"Bearer " + key[:at],
        head + b"Bearer " + key[at:],
        head + b"Bearer " + key[:at] + bytes([key[at] ^ 1 << source.randrange(8)]) + key[at + 1 :],
        head + b"Bearer " + key[:at] + source.choice((b"\0", b"\xc3\xa4", b"\xff", b"%00", b" ", b"\t")) + key[at:],
        head + b"Bearer " + key.swapcase(),
        head + b"Bearer " + key.replace(b"a", "\N{CYRILLIC SMALL LETTER A}".encode()),
        head + b"Bearer " + key.replace(b"_", b"%5f"),
        head + b"Bearer " + b"_".join((own[0], own[1], strange[2])),
        head + b"Bearer " + b"_".join((own[0], strange[1], own[2])),
        head + b"Bearer " + b"_".join((own[0], own[1], b"")),
        head + b"Bearer " + b"_".join((own[0], b"*" * 16, own[2])),
        head + b"Bearer " + key * source.choice((2, 10, 300)),
        head + b"Bearer " + b"A" * source.choice((255, 8000, 16_000, 70_000)),
        head + b"Bearer",
        head,
        b"Authorization : Bearer " + key,
        b"Proxy-Authorization: Bearer " + key,
        b"X-Api-Key: " + key,
        b"Cookie: Authorization=Bearer " + key,
    )
    if source.random() < 0.2:
        lines = [head + b"Bearer " + key, head + b"Bearer " + other]
        source.shuffle(lines)
        return lines
    return [source.choice(one)]


# --- what is hidden ---


def _path_of_hidden(source: random.Random, hidden: Hidden) -> bytes:
    name = source.choice(hidden.names)
    if source.random() < 0.5:
        return b"/" + source.choice(hidden.ids)
    return b"/named/" + name


def _escaped(source: random.Random, path: bytes) -> bytes:
    """Another spelling, or what somebody hopes is one."""
    at = source.randrange(1, len(path))
    kinds: Sequence[Callable[[], bytes]] = (
        lambda: path,
        lambda: path[:at] + b"%%%02X" % path[at] + path[at + 1 :],
        lambda: path[:at] + b"%%25%02x" % path[at] + path[at + 1 :],
        lambda: path[:at] + b"%c0%" + b"%02x" % (path[at] | 0x80) + path[at + 1 :],
        lambda: (
            path[:at] + source.choice((b"/../", b"/./", b"//", b"%2f", b"%5c", b"%00", b"\\", b";", b"?")) + path[at:]
        ),
        lambda: path + source.choice((b"/", b"%00", b"%20", b".", b"/..", b"?x", b"%ef%bc%8f", b"\xcc\x81", b"#")),
        lambda: path.upper(),
        lambda: b"/named/vault/plain/open/.." + path,
        lambda: b"/named/vault/plain/open/%2e%2e/plans/" + path.rpartition(b"/")[2],
        lambda: b"/signedId" + path,
    )
    return source.choice(kinds)()


def _hidden_read(source: random.Random, places: Places) -> Draft:
    _, hidden = _who(places)
    path = _path_of_hidden(source, hidden)
    if source.random() < 0.3:
        path = _escaped(source, path)
    path += source.choice((*[b""] * 6, b"/BlobInfo", b"/UserMetadata", b"/Replicas", b"/BlobChunkIds", b"/Segment/0"))
    path += source.choice((*[b""] * 8, b"?history", b"?x-ambry-get-option=Include_All", b"?key=1"))
    lines = common(places)
    lines += source.choice(
        (
            *[()] * 6,
            (b"Range: bytes=0-9",),
            (b"Range: bytes=0-0,-1",),
            (b"If-None-Match: *",),
            (b"If-Match: *",),
            (b'If-None-Match: "0"',),
            (b"If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT",),
            (b"x-ambry-get-option: Include_All",),
            (b"x-ambry-get-option: Include_Deleted_Blobs",),
            (b"x-ambry-get-option: include_expired_blobs",),
            (b"x-ambry-target-account-name: other", b"x-ambry-target-container-name: other"),
            (b"x-ambry-target-account-name: " + hidden.account,),
            (b"x-ambry-dataset-version-query-enabled: true",),
            (b"Origin: http://elsewhere.test", b"Sec-Fetch-Site: cross-site"),
        )
    )
    method = source.choice((b"GET", b"GET", b"GET", b"HEAD", b"OPTIONS"))
    return Draft(method=method, target=path, lines=lines, hidden=True)


def _hidden_change(source: random.Random, places: Places) -> Draft:
    _, hidden = _who(places)
    blob, name = source.choice(hidden.ids), source.choice(hidden.names)
    container = b"/".join((hidden.account, hidden.container))
    lines = common(places)
    into = [b"x-ambry-target-account-name: " + hidden.account, b"x-ambry-target-container-name: " + hidden.container]
    sized = [b"Content-Length: 5"]
    empty = [b"Content-Length: 0"]
    drafts: Sequence[Callable[[], Draft]] = (
        lambda: Draft(method=b"DELETE", target=b"/" + blob, lines=lines),
        lambda: Draft(method=b"DELETE", target=b"/named/" + name, lines=lines),
        lambda: Draft(method=b"PUT", target=b"/named/" + name, lines=lines + sized, wire=b"smash"),
        lambda: Draft(
            method=b"PUT",
            target=b"/named/" + name,
            lines=[*lines, *sized, b"x-ambry-named-upsert: true"],
            wire=b"smash",
        ),
        lambda: Draft(
            method=b"PUT", target=b"/updateTtl", lines=[*lines, *empty, b"x-ambry-blob-id: " + blob, b"x-ambry-ttl: 1"]
        ),
        lambda: Draft(method=b"PUT", target=b"/undelete", lines=[*lines, *empty, b"x-ambry-blob-id: " + blob]),
        lambda: Draft(method=b"POST", target=b"/", lines=lines + into + sized, wire=b"smash"),
        lambda: Draft(
            method=b"POST", target=b"/", lines=[*lines, *into, *sized, b"x-ambry-idempotency-key: mine"], wire=b"smash"
        ),
        lambda: Draft(method=b"PUT", target=b"/uploads/" + hidden.upload + b"/1", lines=lines + sized, wire=b"smash"),
        lambda: Draft(method=b"GET", target=b"/uploads/" + hidden.upload, lines=lines),
        lambda: Draft(method=b"POST", target=b"/uploads/" + hidden.upload + b"/complete", lines=lines + empty),
        lambda: Draft(method=b"DELETE", target=b"/uploads/" + hidden.upload, lines=lines),
        lambda: Draft(method=b"DELETE", target=b"/encryption/containers/" + container, lines=lines),
        lambda: Draft(method=b"POST", target=b"/encryption/containers/" + container + b"/rotate", lines=lines + empty),
    )
    draft = source.choice(drafts)()
    draft.hidden = True
    return draft


def _asked(source: random.Random, places: Places) -> Draft:
    """A page that lists or tells something, of the place of what is hidden."""
    _, hidden = _who(places)
    account, container = hidden.account, hidden.container
    place = b"account=" + account + b"&container=" + container
    path = b"%2F" + source.choice(hidden.ids) if source.random() < 0.5 else b"%2Fnamed%2F" + source.choice(hidden.names)
    target = source.choice(
        (
            b"/named/" + account + b"/" + container,
            b"/named/" + account + b"/" + container + b"?prefix=plans/",
            b"/named/" + account + b"/" + container + b"?prefix=open/",
            b"/named/" + account + b"/" + container + b"?prefix=open/&start-after=plans/",
            b"/named/" + account + b"/" + container + b"?prefix=&max-keys=1",
            b"/changes?" + place,
            b"/changes?" + place + b"&since=beginning&limit=1",
            b"/signedUrl?path=" + path,
            b"/signedUrl?verb=PUT&path=" + path,
            b"/accounts",
            b"/accounts/containers",
            b"/usage",
            b"/keys",
            b"/keys/self",
            b"/peers",
            b"/statsReport",
            b"/getClusterMapSnapshot",
            b"/encryption",
            b"/encryption/containers/" + account + b"/" + container,
            b"/accounts/containers/datasets",
        )
    )
    lines = common(places)
    if source.random() < 0.4:
        lines += [b"x-ambry-target-account-name: " + account]
        lines += [b"x-ambry-target-container-name: " + container] if source.random() < 0.7 else []
    return Draft(method=source.choice((b"GET", b"GET", b"HEAD")), target=target, lines=lines, hidden=True)


def _batch(source: random.Random, places: Places) -> Draft:
    """A list of what may be had and what may not, or a body about what is hidden."""
    _, hidden = _who(places)
    blob, name = source.choice(hidden.ids).decode(), source.choice(hidden.names).decode()
    account, container = hidden.account.decode(), hidden.container.decode()
    own = source.choice(places.readable).decode()
    spent = source.choice(places.spendable).decode()
    several: list[object] = [own, blob, {"name": name}, {"id": blob}, "x", {"name": f"{name}/.."}]
    chosen = source.sample(several, source.randint(1, len(several)))
    grant = {"roles": ["read"], "account": account, "container": container}
    target, said = source.choice(
        (
            ("/batch/get", chosen),
            ("/batch/get", [{"id": own, "ranges": ["0-9"]}, {"id": blob, "ranges": ["0-9", "-5"]}]),
            ("/batch/head", chosen),
            ("/batch/delete", [spent, blob, {"name": name}]),
            ("/stitch", {"signedChunkIds": [hidden.chunk.decode()]}),
            ("/keys", {"name": "more", "grants": [grant]}),
            ("/keys", {"name": "more", "grants": [{**grant, "prefix": "open/../"}]}),
            ("/accounts/containers", {"containers": [{"containerName": container, "isPrivate": False}]}),
            (f"/named/{account}/{container}/open/new", {"op": "rename", "from": name.split("/", 2)[2]}),
            (f"/named/{account}/{container}/open/new", {"op": "bind", "id": blob}),
            (f"/named/{name}", {"op": "undelete"}),
            ("/named/default/default/mine", {"op": "bind", "id": blob}),
            (
                "/accounts/containers/datasets",
                {"accountName": account, "containerName": container, "datasetName": "d", "versionSchema": "MONOTONIC"},
            ),
        )
    )
    wire = json.dumps(said).encode()
    lines = [*common(places), b"Content-Type: application/json", b"Content-Length: %d" % len(wire)]
    if source.random() < 0.3:
        lines += [
            b"x-ambry-target-account-name: " + hidden.account,
            b"x-ambry-target-container-name: " + hidden.container,
        ]
    return Draft(method=b"POST", target=target.encode(), lines=lines, wire=wire, hidden=True)


def _signed(source: random.Random, places: Places) -> Draft:
    """A URL that was signed for something hidden, changed in one to three places."""
    _, hidden = _who(places)
    target = source.choice(hidden.signed)
    for _ in range(source.randint(1, 3)):
        target = _bent_url(source, target, hidden)
    method = source.choices((b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"), (60, 15, 10, 5, 5, 5))[0]
    lines = common(places)
    if source.random() < 0.3:
        lines += source.choice(
            (
                [b"Range: bytes=0-9"],
                [b"x-ambry-get-option: Include_All"],
                [b"x-ambry-um-a: b"],
                [b"X-HTTP-Method-Override: PUT"],
                [b"Origin: http://elsewhere.test"],
                [b"If-None-Match: *"],
            )
        )
    if method in (b"PUT", b"POST"):
        lines += [b"Content-Length: 5"]
    wire = b"smash" if method in (b"PUT", b"POST") else b""
    return Draft(method=method, target=target, lines=lines, wire=wire, hidden=True, broken=True)


def _bent_url(source: random.Random, target: bytes, hidden: Hidden) -> bytes:
    path, _, query = target.partition(b"?")
    pairs = query.split(b"&")
    at, place = source.randrange(len(target)), source.randrange(len(pairs))
    match source.randrange(11):
        case 0:
            return target[:at] + bytes([target[at] ^ 1 << source.randrange(8)]) + target[at + 1 :]
        case 1:
            source.shuffle(pairs)
        case 2:
            pairs.insert(source.randrange(len(pairs) + 1), pairs[place])
        case 3:
            del pairs[place]
        case 4:
            name, _, value = pairs[place].partition(b"=")
            bent = (b"9" + value, value + b"0", b"", value.swapcase(), b"%" + value, value + b"%00", b"PUT", b"GET")
            pairs[place] = name + b"=" + source.choice(bent)
        case 5:
            path = _path_of_hidden(source, hidden)
        case 6:
            path = _escaped(source, path) if len(path) > 1 else path
        case 7:
            more = (
                b"ambry-verb=DELETE",
                b"x-ambry-get-option=Include_All",
                b"ambry-max-size=1",
                b"x=1",
                b"=",
                b"AMBRY-KEY=a",
            )
            pairs.append(source.choice(more))
        case 8:
            pairs[place] = pairs[place].upper()
        case 9:
            pairs[place] = b"".join(b"%%%02x" % byte for byte in pairs[place])
        case _:
            pairs = [*pairs[:-1], b"ambry-signature=" + bytes(source.choices(b"0123456789abcdef", k=64))]
    return path + b"?" + b"&".join(pairs)


TEMPLATES: Sequence[tuple[int, Template]] = (
    (25, _hidden_read),
    (12, _hidden_change),
    (10, _asked),
    (10, _batch),
    (15, _signed),
)


# --- how they are bent ---


def _browser(source: random.Random, draft: Draft, places: Places) -> None:
    """What a page of somebody else makes a browser send."""
    origins = (
        b"null",
        b"http://elsewhere.test",
        b"http://" + places.host,
        b"https://" + places.host,
        b"",
        b"\xff",
        b"a b",
    )
    draft.lines += source.choice(
        (
            [b"Origin: " + source.choice(origins)],
            [b"Origin: " + source.choice(origins), b"Origin: http://" + places.host],
            [b"Sec-Fetch-Site: " + source.choice((b"cross-site", b"same-site", b"same-origin", b"none", b"x"))],
            [b"Origin: http://elsewhere.test", b"Access-Control-Request-Method: PUT"],
            [
                b"Origin: null",
                b"Access-Control-Request-Method: GET",
                b"Access-Control-Request-Headers: authorization, x-ambry-ttl",
            ],
            [b"Referer: http://elsewhere.test/" + b"a" * source.choice((1, 8000))],
        )
    )


def _key_again(source: random.Random, draft: Draft, places: Places) -> None:
    strangers, _ = _who(places)
    key = source.choice(strangers.keys[source.choice(tuple(Sender))])
    draft.lines += _bent_key(source, key, strangers)


TWISTS: Sequence[Twist] = (_browser, _browser, _key_again)
