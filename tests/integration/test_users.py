"""Users: the call on every request, and the races around it."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.calls import new_stream, refusal
from tests.support.statements import recorded
from veupath_store import NotFoundError, StreamRepository, UserRepository
from veupath_store.models import User
from veupath_store.session import async_session_factory

ADA, EVE = "ada@example.org", "eve@example.org"


async def login_of(user_id):
    return (await UserRepository().get_by_id(user_id)).external_id


@pytest.mark.parametrize(
    "known",
    [
        lambda users, user: users.get_or_create(user.id),
        lambda users, user: users.get_or_create(user.id, external_id=user.external_id),
        lambda users, user: users.get_or_create_by_external_id(user.external_id),
    ],
    ids=["id", "id and login", "login"],
)
async def test_who_is_known_costs_one_read_and_no_write(store, known):
    user = await UserRepository().get_or_create(uuid4(), external_id=ADA)
    with recorded(exactly=1) as sent:
        found = await known(UserRepository(), user)
    assert found.id == user.id
    assert sent[0].startswith("SELECT")


async def test_fifty_requests_of_a_new_user_make_one_row(store, unit):
    async def request(identity):
        async with unit() as session:
            return await UserRepository(session).get_or_create(identity)

    for _ in range(5):
        identity = uuid4()
        users = await asyncio.gather(*(request(identity) for _ in range(50)))
        assert {user.id for user in users} == {identity}
        assert len({user.created_at for user in users}) == 1
    assert await User.all().count() == 5


class TestOfACookieAndALogin:
    """A guest's id from a cookie, and the login that comes later, are one account."""

    async def test_a_guest_who_logs_in_stays_the_same_user(self, user):
        found = await UserRepository().get_or_create(user.id, external_id=ADA)
        assert (found.id, found.external_id) == (user.id, ADA)
        assert (await UserRepository().get_or_create_by_external_id(ADA)).id == user.id

    async def test_an_unknown_id_with_an_unknown_login_is_made_with_both(self, store):
        identity = uuid4()
        made = await UserRepository().get_or_create(identity, external_id=ADA)
        assert (made.id, made.external_id) == (identity, ADA)
        assert await User.all().count() == 1

    async def test_a_login_that_has_an_account_is_that_account_and_the_guests_stays_as_it_is(self, user):
        known = await UserRepository().create(ADA)
        conversation = await new_stream(user)
        for cookie in (user.id, uuid4(), known.id):
            assert (await UserRepository().get_or_create(cookie, external_id=ADA)).id == known.id
        assert await login_of(user.id) is None
        assert (await StreamRepository().get_by_id(conversation)).user_id == user.id
        assert await User.all().count() == 2, "no row is made for an id that is not used"

    async def test_an_id_with_another_login_is_not_handed_over(self, store):
        ada = await UserRepository().create(ADA)
        found = await UserRepository().get_or_create(ada.id, external_id=EVE)
        assert found.id != ada.id
        assert found.external_id == EVE
        assert await login_of(ada.id) == ADA

    async def test_one_user_reaches_no_other_account_by_a_login(self, user, stranger):
        mine = UserRepository().for_user(user.id)
        await UserRepository().get_or_create(stranger.id, external_id=EVE)
        await refusal(NotFoundError, mine.get_or_create(user.id, external_id=EVE))
        await refusal(NotFoundError, mine.get_or_create(stranger.id, external_id=ADA))
        assert (await mine.get_or_create(user.id, external_id=ADA)).external_id == ADA
        await refusal(NotFoundError, mine.get_or_create(user.id, external_id="another@example.org"))
        assert await User.all().count() == 2

    async def test_fifty_tabs_that_log_in_at_once_are_one_account(self, store):
        """Some with the cookie, some with another one or none, some in a session."""
        for round_ in range(5):
            login, cookies = f"ada{round_}@example.org", [uuid4(), uuid4()]
            await UserRepository().get_or_create(cookies[0])

            async def tab(number, login=login, cookies=cookies):
                if number % 3 == 0:
                    return await UserRepository().get_or_create_by_external_id(login)
                if number % 3 == 1:
                    return await UserRepository().get_or_create(cookies[number % 2], external_id=login)
                async with async_session_factory() as session:
                    return await UserRepository(session).get_or_create(cookies[number % 2], external_id=login)

            users = await asyncio.gather(*map(tab, range(50)))
            assert len({user.id for user in users}) == 1
            assert {user.external_id for user in users} == {login}
            assert await User.filter(external_id=login).count() == 1

    async def test_of_two_logins_with_one_cookie_at_once_each_gets_an_account(self, store):
        for round_ in range(10):
            cookie, logins = uuid4(), [f"{name}{round_}@example.org" for name in ("ada", "eve")]
            users = await asyncio.gather(
                *(UserRepository().get_or_create(cookie, external_id=logins[number % 2]) for number in range(20))
            )
            assert [user.external_id for user in users] == logins * 10
            accounts = {user.external_id: user.id for user in users}
            assert [accounts[user.external_id] for user in users] == [user.id for user in users]
            assert cookie in accounts.values()
            assert len(set(accounts.values())) == 2
