"""Companies, enrolment, secrets and tokens; each answer is durable before it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud.errors import RegistryError, StoreError
from cloud.store.credentials import ALPHABET
from cloud.store.registry import Agent, Company, EnrolledCompany, Registry, TokenInfo
from tests.support.store_feeder import ManualClock, manual_runtime
from transport.errors import RemoteProtocolError

AGENT, OTHER = b"A" * 16, b"B" * 16
KEY, OTHER_KEY = b"k" * 32, b"l" * 32
WEEK = 7 * 86_400.0


class World:
    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.path = path
        self.registry = Registry(path, manual_runtime(self.clock))

    def reopen(self) -> Registry:
        """As after a crash: whatever was not committed is gone."""
        self.registry.close()
        self.registry = Registry(self.path, manual_runtime(self.clock))
        return self.registry


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "cloud.db")
    yield world
    world.registry.close()


@pytest.fixture
def registry(world: World) -> Registry:
    """With the company acme, whose agent is enrolled."""
    world.registry.add_company("acme")
    world.registry.enrol(world.registry.new_enrolment_code("acme", WEEK), AGENT, KEY)
    return world.registry


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as caught:
        call()
    return caught.value.code


def say_hello(registry: Registry, secret: bytes, epoch: int = 0, takeover: bool = False) -> tuple[int, bytes]:
    grant = registry.hello("acme", AGENT, secret, epoch, takeover)
    return grant.epoch, grant.next_secret


def connect(registry: Registry, secret: bytes) -> bytes:
    """A hello and its confirmation; the secret from now on."""
    _, following = say_hello(registry, secret)
    registry.confirm("acme", following)
    return following


# -- companies ---------------------------------------------------------------------------------------------------------------


def test_companies_are_listed_by_id(world: World) -> None:
    world.registry.add_company("zeta")
    world.registry.add_company("a-1_x")
    listed = world.reopen().companies()
    assert listed[0] == Company("a-1_x", "2026-03-01T00:00:00.000Z", "active", 0, False, "")
    assert [company.id for company in listed] == ["a-1_x", "zeta"]
    assert world.registry.company("nothing") is None


@pytest.mark.parametrize("name", ["", "Acme", "1a", "-a", "a b", "a/../b", "a" * 41, "ą", "a\n"])
def test_an_id_that_could_be_no_file_or_url_is_refused(world: World, name: str) -> None:
    assert code_of(lambda: world.registry.add_company(name)) == "C3203"


def test_a_company_is_added_once(registry: Registry) -> None:
    assert code_of(lambda: registry.add_company("acme")) == "C3202"


def test_a_suspended_company_lets_nobody_in_until_it_is_let_on(world: World, registry: Registry) -> None:
    code = registry.new_enrolment_code("acme", WEEK)
    token = registry.add_token("acme", "shop")
    registry.suspend("acme")
    registry = world.reopen()
    assert code_of(lambda: registry.hello("acme", AGENT, b"", 0)) == "C3208"
    assert code_of(lambda: registry.enrol(code, OTHER, OTHER_KEY)) == "C3208"
    assert code_of(lambda: registry.new_enrolment_code("acme", WEEK)) == "C3208"
    info = registry.token(token)
    assert info is not None
    assert info.suspended
    registry.suspend("acme", suspended=False)
    registry.hello("acme", AGENT, b"", 0)


def test_when_the_agent_was_heard_is_kept(world: World, registry: Registry) -> None:
    world.clock.seconds = 60
    registry.seen("acme")
    assert world.reopen().companies()[0].last_seen == "2026-03-01T00:01:00.000Z"


def test_what_is_done_to_an_unknown_company_is_told(registry: Registry) -> None:
    for call in (
        lambda: registry.new_enrolment_code("nobody", WEEK),
        lambda: registry.suspend("nobody"),
        lambda: registry.revoke_agent("nobody"),
        lambda: registry.add_token("nobody", "shop"),
        lambda: registry.revoke_token("nobody", "shop"),
        lambda: registry.hello("nobody", AGENT, b"", 0),
    ):
        assert code_of(call) == "C3201"
    assert registry.agent("nobody") is None


# -- enrolment ---------------------------------------------------------------------------------------------------------------


def test_a_code_can_be_read_out_and_typed(registry: Registry) -> None:
    code = registry.new_enrolment_code("acme", WEEK)
    assert [len(part) for part in code.split("-")] == [4, 4, 4]
    assert set(code) <= {*ALPHABET, "-"}
    assert not set("01ILO") & set(ALPHABET)
    assert registry.enrol(f" {code.lower().replace('-', ' ')}\n", OTHER, OTHER_KEY) == EnrolledCompany("acme")


def test_a_code_makes_the_installation_the_companys_agent(world: World, registry: Registry) -> None:
    assert world.reopen().agent("acme") == Agent("acme", AGENT, KEY, "2026-03-01T00:00:00.000Z", False)


def test_a_wrong_a_used_and_an_expired_code_are_told_apart(world: World, registry: Registry) -> None:
    code = registry.new_enrolment_code("acme", 60)
    assert code_of(lambda: registry.enrol("ABCD-EFGH-JKMN", OTHER, OTHER_KEY)) == "C3209"
    world.clock.seconds = 60
    assert code_of(lambda: registry.enrol(code, OTHER, OTHER_KEY)) == "C3211"
    used = registry.new_enrolment_code("acme", 60)
    registry.enrol(used, OTHER, OTHER_KEY)
    assert code_of(lambda: world.reopen().enrol(used, AGENT, KEY)) == "C3210"


def test_the_same_installation_may_ask_again_while_its_answer_may_be_lost(registry: Registry) -> None:
    code = registry.new_enrolment_code("acme", WEEK)
    registry.enrol(code, OTHER, OTHER_KEY)
    assert registry.enrol(code, OTHER, OTHER_KEY) == EnrolledCompany("acme")
    assert code_of(lambda: registry.enrol(code, OTHER, KEY)) == "C3210"
    registry.hello("acme", OTHER, b"", 0)
    assert code_of(lambda: registry.enrol(code, OTHER, OTHER_KEY)) == "C3210"


@pytest.mark.parametrize(("installation", "key"), [(b"short", KEY), (AGENT, b""), (AGENT, KEY + b"x")])
def test_an_id_or_key_of_another_length_is_refused(registry: Registry, installation: bytes, key: bytes) -> None:
    code = registry.new_enrolment_code("acme", WEEK)
    assert code_of(lambda: registry.enrol(code, installation, key)) == "C3212"


def test_enrolling_another_installation_replaces_the_first(registry: Registry) -> None:
    registry.enrol(registry.new_enrolment_code("acme", WEEK), OTHER, OTHER_KEY)
    agent = registry.agent("acme")
    assert agent is not None
    assert (agent.installation, agent.revoked) == (OTHER, False)
    assert code_of(lambda: registry.hello("acme", AGENT, b"", 0)) == "C3204"


def test_the_same_installation_can_be_enrolled_again_with_a_new_key(registry: Registry) -> None:
    connect(registry, b"")
    registry.enrol(registry.new_enrolment_code("acme", WEEK), AGENT, OTHER_KEY)
    agent = registry.agent("acme")
    assert agent is not None
    assert agent.public_key == OTHER_KEY
    assert say_hello(registry, b"")[0] == 2


def test_a_revoked_agent_stays_outside(world: World, registry: Registry) -> None:
    secret = connect(registry, b"")
    assert registry.revoke_agent("acme")
    assert not registry.revoke_agent("acme")
    agent = world.reopen().agent("acme")
    assert agent is not None
    assert agent.revoked
    assert code_of(lambda: world.registry.hello("acme", AGENT, secret, 1)) == "C3204"
    assert code_of(lambda: world.registry.confirm("acme", secret)) == "C3215"


# -- secrets and epochs --------------------------------------------------------------------------------------------------------


def test_each_hello_is_granted_a_greater_epoch(world: World, registry: Registry) -> None:
    secret = connect(registry, b"")
    assert world.reopen().companies()[0].epoch == 1
    assert say_hello(world.registry, secret)[0] == 2


def test_the_epoch_continues_after_the_greatest_that_either_side_has_seen(world: World, registry: Registry) -> None:
    assert say_hello(registry, b"", epoch=41)[0] == 42
    assert world.reopen().companies()[0].epoch == 42


@pytest.mark.parametrize("epoch", [2**53 + 1, 2**64 - 1])
def test_an_impossible_epoch_is_refused(registry: Registry, epoch: int) -> None:
    with pytest.raises(RemoteProtocolError, match="T1005"):
        say_hello(registry, b"", epoch)


def test_a_welcome_that_got_lost_does_not_lock_the_agent_out(registry: Registry) -> None:
    first = connect(registry, b"")
    say_hello(registry, first)  # the answer is lost
    epoch, second = say_hello(registry, first)
    assert epoch == 3
    registry.confirm("acme", second)


def test_an_agent_that_stored_the_next_secret_and_crashed_before_saying_so_comes_back(world: World, registry: Registry) -> None:
    first = connect(registry, b"")
    _, second = say_hello(registry, first)
    say_hello(world.reopen(), second)
    assert code_of(lambda: say_hello(world.registry, first)) == "C3206"


def test_an_old_secret_stops_both_installations_until_a_person_decides(world: World, registry: Registry) -> None:
    first = connect(registry, b"")
    second = connect(registry, first)
    assert code_of(lambda: say_hello(registry, first)) == "C3206"
    registry = world.reopen()
    assert registry.companies()[0].contested
    assert code_of(lambda: say_hello(registry, second)) == "C3207"
    assert code_of(lambda: say_hello(registry, first)) == "C3207"
    epoch, third = say_hello(registry, first, takeover=True)
    assert epoch == 3
    registry.confirm("acme", third)
    assert not world.reopen().companies()[0].contested
    assert code_of(lambda: say_hello(world.registry, second)) == "C3206"


def test_two_copies_of_one_folder_are_noticed_by_the_second_hello(registry: Registry) -> None:
    shared = connect(registry, b"")
    connect(registry, shared)
    assert code_of(lambda: say_hello(registry, shared)) == "C3206"


def test_a_copy_that_comes_between_hello_and_ready_is_noticed(registry: Registry) -> None:
    shared = connect(registry, b"")
    _, mine = say_hello(registry, shared)
    _, theirs = say_hello(registry, shared)
    assert code_of(lambda: registry.confirm("acme", mine)) == "C3215"
    registry.confirm("acme", theirs)
    assert code_of(lambda: say_hello(registry, mine)) == "C3206"


def test_enrolling_anew_ends_the_contest(registry: Registry) -> None:
    connect(registry, connect(registry, b""))
    code_of(lambda: say_hello(registry, b"old"))
    registry.enrol(registry.new_enrolment_code("acme", WEEK), OTHER, OTHER_KEY)
    assert registry.hello("acme", OTHER, b"", 0).epoch == 3


def test_a_registry_that_was_restored_believes_the_agent_that_has_seen_more(registry: Registry) -> None:
    connect(registry, b"")
    epoch, following = say_hello(registry, b"a secret of yesterday's registry", epoch=9)
    assert epoch == 10
    registry.confirm("acme", following)


def test_confirming_twice_is_fine(registry: Registry) -> None:
    secret = connect(registry, b"")
    registry.confirm("acme", secret)


# -- tokens ------------------------------------------------------------------------------------------------------------------


def test_a_token_says_whom_it_stands_for(world: World, registry: Registry) -> None:
    reader = registry.add_token("acme", "shop")
    writer = registry.add_token("acme", "portal", ["write", "read", "read"])
    registry = world.reopen()
    assert registry.token(reader) == TokenInfo("acme", "shop", frozenset({"read"}), False)
    assert registry.token(writer) == TokenInfo("acme", "portal", frozenset({"read", "write"}), False)
    assert reader != writer


@pytest.mark.parametrize("token", ["", "cdc_", "x" * 600, "ą", "\udcff"])
def test_a_token_that_was_never_issued_stands_for_nobody(registry: Registry, token: str) -> None:
    assert registry.token(token) is None


def test_all_tokens_of_an_application_are_revoked_and_no_others(world: World, registry: Registry) -> None:
    first, second, other = (registry.add_token("acme", name) for name in ("shop", "shop", "portal"))
    assert registry.revoke_token("acme", "shop") == 2
    registry = world.reopen()
    assert (registry.token(first), registry.token(second)) == (None, None)
    assert registry.token(other)
    assert code_of(lambda: registry.revoke_token("acme", "shop")) == "C3214"


@pytest.mark.parametrize("scopes", [[], ["admin"], ["read", ""]])
def test_an_unknown_scope_is_refused(registry: Registry, scopes: list[str]) -> None:
    assert code_of(lambda: registry.add_token("acme", "shop", scopes)) == "C3213"


def test_nothing_secret_stands_in_the_file(world: World, registry: Registry) -> None:
    code = registry.new_enrolment_code("acme", WEEK)
    token = registry.add_token("acme", "shop")
    _, secret = say_hello(registry, b"")
    registry.close()
    content = b"".join(p.read_bytes() for p in world.path.parent.iterdir())
    for hidden in (code.encode(), code.replace("-", "").encode(), token.encode(), secret):
        assert hidden not in content


def test_a_registry_of_a_newer_version_and_a_foreign_file_are_refused_by_name(world: World, tmp_path: Path) -> None:
    with world.registry._file.write("test") as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="C3104"):
        world.reopen()
    (tmp_path / "other.db").write_bytes(b"?" * 5000)
    with pytest.raises(StoreError, match="C3102"):
        Registry(tmp_path / "other.db", manual_runtime())
