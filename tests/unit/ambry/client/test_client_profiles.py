"""Where a client's options come from, and whom a profile's key is sent to."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ambry import AmbryClient, ConfigInvalid, InvalidRequest, RetryPolicy, TLSConfig, Unauthenticated, Unavailable
from ambry.client.cache import BlobCache
from ambry.client.profiles import find_cache, find_options
from ambry.clock import SystemClock
from ambry.rest.access import KeyText, key_text
from tests.support.stub_frontend import StubFrontend

KEY, OTHER, THIRD = (key_text(KeyText(letter * 16, letter * 43)) for letter in "abc")


class Home:
    """A user's configuration directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "ambry" / "config.toml"
        self.path.parent.mkdir()
        self.env = {"XDG_CONFIG_HOME": str(directory)}

    def write(self, text: str, mode: int = 0o600) -> None:
        self.path.write_text(text)
        self.path.chmod(mode)

    def key(self, name: str, text: str) -> str:
        path = self.path.parent / name
        path.write_text(f"{text}\n")
        path.chmod(0o600)
        return str(path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_any_configuration_nothing_is_said(home: Home) -> None:
    assert find_options(home.env, None, {}).options == {}


def test_a_key_comes_from_the_argument_the_environment_its_file_or_the_profile(home: Home) -> None:
    home.key("file.key", OTHER)
    home.write('endpoints = "http://a:1"\nkey_file = "file.key"\n')
    assert find_options(home.env, None, {}).options["key"] == OTHER
    assert find_options({**home.env, "AMBRY_KEY": KEY}, None, {}).options["key"] == KEY
    named = home.key("third.key", THIRD)
    assert find_options({**home.env, "AMBRY_KEY_FILE": named}, None, {}).options["key"] == THIRD
    both = {**home.env, "AMBRY_KEY": KEY, "AMBRY_KEY_FILE": named}
    assert find_options(both, None, {}).options["key"] == KEY
    assert find_options(both, None, {"key": OTHER}).options["key"] == OTHER
    home.write(f'endpoints = "http://a:1"\nkey = "{THIRD}"\n')
    assert find_options(home.env, None, {}).options["key"] == THIRD


def test_the_top_level_is_the_profile_of_whoever_names_none(home: Home) -> None:
    home.write('account = "top"\n[profiles.local]\naccount = "local"\n[profiles.far]\nendpoints = "https://far"\n')
    assert find_options(home.env, None, {}).options == {"account": "top"}
    assert find_options(home.env, "local", {}).options == {"account": "local"}
    assert find_options({**home.env, "AMBRY_PROFILE": "local"}, None, {}).options == {"account": "local"}
    far = find_options({**home.env, "AMBRY_PROFILE": "local"}, "far", {}).options
    assert far == {"endpoints": "https://far"}, "it takes nothing from the others"


def test_the_cluster_of_this_machine_is_found_where_nothing_else_is_said(home: Home) -> None:
    home.write('[profiles.local]\naccount = "local"\n[profiles.far]\naccount = "far"\n')
    assert find_options(home.env, None, {}).options == {"account": "local"}
    home.write('[profiles.far]\naccount = "far"\n')
    assert find_options(home.env, None, {}).options == {}


def test_a_profile_that_is_not_there_is_an_error_that_names_those_that_are(home: Home) -> None:
    home.write('[profiles.local]\naccount = "local"\n[profiles.far]\naccount = "far"\n')
    with pytest.raises(ConfigInvalid, match=r"no profile 'fra' in .*config.toml; it has far, local"):
        find_options(home.env, "fra", {})


def test_another_file_may_be_named_and_its_files_lie_beside_it(home: Home, tmp_path: Path) -> None:
    named = tmp_path / "profile.toml"
    named.write_text('endpoints = "http://a:1"\nkey_file = "admin.key"\nca = "~/ca.pem"\n')
    (tmp_path / "admin.key").touch(0o600)
    (tmp_path / "admin.key").write_text(KEY)
    options = find_options({**home.env, "AMBRY_CONFIG": str(named)}, None, {}).options
    assert options["key"] == KEY and options["tls"] == TLSConfig(ca=str(Path("~/ca.pem").expanduser()))
    with pytest.raises(ConfigInvalid, match="AMBRY_CONFIG names /nowhere"):
        find_options({"AMBRY_CONFIG": "/nowhere/config.toml"}, None, {})


def test_a_profiles_key_and_certificates_go_to_its_own_endpoints_alone(home: Home) -> None:
    home.key("file.key", KEY)
    home.write('endpoints = ["http://a:1", "https://b"]\nkey_file = "file.key"\nca = "ca.pem"\n')
    for own in ("https://b", "b:1,a:1", ["a:1"]):
        found = find_options(home.env, None, {"endpoints": own})
        assert ("key" in found.options) == (own != "b:1,a:1")
    for env, given in (
        ({"AMBRY_ENDPOINTS": "http://evil:1"}, {}),
        ({}, {"endpoints": ["http://a:1", "http://evil:1"]}),
    ):
        found = find_options({**home.env, **env}, None, given)  # type: ignore[arg-type]
        assert not {"key", "tls"} & found.options.keys()
        assert "goes to its own endpoints alone, http://a:1, https://b" in found.withheld
    said = find_options({**home.env, "AMBRY_KEY": OTHER}, None, {"endpoints": "http://evil:1"})
    assert said.options["key"] == OTHER and not said.withheld


def test_a_profile_without_endpoints_is_that_of_the_default_one(home: Home) -> None:
    home.key("file.key", KEY)
    home.write('key_file = "file.key"\n')
    assert find_options(home.env, None, {}).options["key"] == KEY
    assert "key" not in find_options(home.env, None, {"endpoints": "http://evil:1"}).options


def test_who_is_refused_learns_why_no_key_was_sent(
    home: Home, stub: StubFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", home.env["XDG_CONFIG_HOME"])
    home.key("file.key", KEY)
    home.write('[profiles.local]\nkey_file = "file.key"\n')
    stub.fail("HEAD", "status", status=401, code="Unauthenticated", detail="this takes a key")
    with pytest.raises(Unauthenticated, match=r"the key of the profile local of .* goes to its own endpoints alone"):
        AmbryClient.from_env(endpoints=stub.url).head(stub.add(b"x"))
    assert "authorization" not in stub.requests[0].headers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("endpoint = 'http://a:1'", "did you mean endpoints"),
        ("[profiles.local]\nkeyfile = 'x'", r"profiles.local.*did you mean key_file"),
        ("profiles = 3", "profiles are tables"),
        ("endpoints = 'ftp://a'", "ftp://a"),
        ("cert_key = 'x'", "belongs to a certificate"),
        ("key = 'ambry_nonsense'", "cut off"),
        ("key_file = 'none.key'", "cannot read .*none.key"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(home: Home, text: str, told: str) -> None:
    home.write(text)
    with pytest.raises(ConfigInvalid, match=told):
        find_options(home.env, None, {})


def test_a_key_stands_in_no_file_that_others_may_read(home: Home) -> None:
    home.write(f'key = "{KEY}"\n', 0o644)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        find_options(home.env, None, {})
    home.write('account = "a"\n', 0o644)
    assert find_options(home.env, None, {}).options == {"account": "a"}


def test_a_client_that_is_made_with_a_profile_has_what_that_says_below_its_arguments(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write(
        f'[profiles.far]\nendpoints = ["http://a:1"]\nkey = "{KEY}"\naccount = "ml"\nverify = "never"\n'
        f'service_id = "trainer"\ncache_max = 5000\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", home.env["XDG_CONFIG_HOME"])
    monkeypatch.setenv("AMBRY_ACCOUNT", "of-the-environment")
    monkeypatch.setenv("AMBRY_CONTAINER", "of-the-environment")
    client = AmbryClient(profile="far")
    assert (client.endpoints, client.default_account, client.default_container) == (("http://a:1",), "ml", "default")
    assert (client._verify, client._service_id, client._cache.max_bytes) == ("never", "trainer", 5000)
    assert client._common["authorization"] == f"Bearer {KEY}"
    other = AmbryClient(profile="far", account="other", verify="always", key=OTHER)
    assert (other.default_account, other._verify, other._common["authorization"]) == (
        "other",
        "always",
        f"Bearer {OTHER}",
    )
    monkeypatch.delenv("XDG_CONFIG_HOME")
    copy = pickle.loads(pickle.dumps(client))
    assert (copy.endpoints, copy._common, copy._target) == (client.endpoints, client._common, client._target), (
        "a pickle needs no file"
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", home.env["XDG_CONFIG_HOME"])
    with pytest.raises(ConfigInvalid, match="there is no profile 'near'"):
        AmbryClient(profile="near")
    assert AmbryClient().endpoints == ("http://127.0.0.1:17100",), "no file is looked at where none is named"


def test_a_profile_of_the_constructor_keeps_its_key_from_other_endpoints(
    home: Home, stub: StubFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write(f'[profiles.far]\nendpoints = ["http://a:1"]\nkey = "{KEY}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", home.env["XDG_CONFIG_HOME"])
    with AmbryClient(stub.url, profile="far") as client:
        client.health()
    assert "authorization" not in stub.requests[-1].headers


def test_whoever_reaches_nobody_is_told_which_profiles_there_are(home: Home) -> None:
    home.write('[profiles.eu]\nendpoints = "http://a:1"\n[profiles.us]\nendpoints = "http://b:1"\n')
    found = find_options(home.env, None, {})
    assert found.options == {} and found.unchosen.startswith(f"{home.path} has eu, us: --profile NAME")
    for given in ({"endpoints": "http://c:1"}, {"endpoints": ["http://c:1"]}):
        assert find_options(home.env, None, given).unchosen == ""  # type: ignore[arg-type]
    assert find_options(home.env, "eu", {}).unchosen == ""
    client = AmbryClient("http://127.0.0.1:9", retry=RetryPolicy(max_attempts=1))
    client._unchosen = found.unchosen
    with pytest.raises(Unavailable, match=r"config\.toml has eu, us"):
        client.head("x")


def test_no_endpoints_are_not_those_of_whoever_says_nothing(home: Home) -> None:
    with pytest.raises((ConfigInvalid, InvalidRequest)):
        AmbryClient.from_env(endpoints=[])


def test_a_table_that_is_called_profile_is_told_from_one_of_profiles(home: Home) -> None:
    home.write('[profile.eu]\nendpoints = "http://a:1"\n')
    with pytest.raises(ConfigInvalid, match=r"a table \[profiles.NAME\], not \[profile.NAME\]"):
        find_options(home.env, None, {})


def test_a_home_in_a_variable_is_that_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env AMBRY_CA=~/ca.crt` leaves the ~ as it is, and so did we, but in the file of profiles."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_cache({"AMBRY_CACHE_DIR": "~/kept", "HOME": str(tmp_path)}, None).directory == str(tmp_path / "kept")
    assert BlobCache("~/kept", max_bytes=1, clock=SystemClock()).directory == tmp_path / "kept"
