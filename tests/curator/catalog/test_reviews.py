"""Items under review are one reviewer's at a time, and an answer under an old lease is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, NewItem, ReviewQueue
from curator.catalog.schema_review import review_answers
from curator.errors import LeaseLostError, NotFoundError, RequestError

SETTINGS = {"budget": 4}


def items(count: int, people: int = 1) -> list[NewItem]:
    return [
        NewItem(
            sample_id=f"{number:032x}",
            why="audit" if number % 2 else "uncertain",
            shard=0,
            row=number,
            verdict={"action": "keep", "confidence": number / 10},
            num_reviewers=people,
        )
        for number in range(count)
    ]


def opened(catalog: Catalog, count: int = 4, people: int = 1) -> ReviewQueue:
    return catalog.reviews.open("local", "run_1", SETTINGS, {"manifest": "man_1"}, items(count, people))


def expire(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(sa.update(review_answers).values(lease_until=1.0))


def test_equal_settings_are_the_same_queue(catalog: Catalog) -> None:
    queue = opened(catalog)
    assert opened(catalog, 9) == queue
    assert catalog.reviews.find("local", "run_1", SETTINGS) == queue
    assert catalog.reviews.find("local", "run_1", {"budget": 5}) is None
    other = catalog.reviews.open("local", "run_1", {"budget": 5}, {}, items(1))
    assert [found.id for found in catalog.reviews.page("local").items] == [other.id, queue.id]
    first = catalog.reviews.page("local", limit=1)
    assert catalog.reviews.page("local", limit=1, cursor=first.next_cursor).items == (queue,)
    assert catalog.reviews.page("local", run="run_2").items == ()
    assert [item.position for item in catalog.reviews.items("local", queue.id)] == [0, 1, 2, 3]


def test_two_reviewers_get_different_items_and_what_they_answered_stays(catalog: Catalog) -> None:
    queue = opened(catalog)
    mine = catalog.reviews.claim("local", queue.id, "me", 2, 60.0)
    yours = catalog.reviews.claim("local", queue.id, "you", 9, 60.0)
    assert [item.position for item, _ in mine + yours] == [0, 1, 2, 3]
    assert catalog.reviews.claim("local", queue.id, "third", 9, 60.0) == []
    item, lease = mine[0]
    assert item.state == "leased" and lease.expires_at > queue.created_at
    done = catalog.reviews.answer("local", item.id, "me", lease.token, "relabel", "cat", "seen")
    assert (done.state, done.answers[0].action, done.answers[0].label) == ("settled", "relabel", "cat")
    expire(catalog)
    left = catalog.reviews.claim("local", queue.id, "third", 9, 60.0)
    assert [item.position for item, _ in left] == [1, 2, 3]


def test_an_answer_sent_again_changes_nothing_and_another_one_needs_the_new_token(catalog: Catalog) -> None:
    queue = opened(catalog)
    [(item, lease)] = catalog.reviews.claim("local", queue.id, "me", 1, 60.0)
    done = catalog.reviews.answer("local", item.id, "me", lease.token, "drop")
    assert catalog.reviews.answer("local", item.id, "me", lease.token, "drop") == done
    with pytest.raises(LeaseLostError):
        catalog.reviews.answer("local", item.id, "me", lease.token, "keep")
    amended = catalog.reviews.answer("local", item.id, "me", done.answers[0].token, "keep")
    assert amended.answers[0].action == "keep"
    with pytest.raises(LeaseLostError):
        catalog.reviews.answer("local", item.id, "you", amended.answers[0].token, "drop")
    with pytest.raises(LeaseLostError):
        catalog.reviews.give_back("local", item.id, "me", amended.answers[0].token, skip=False)


def test_a_lease_that_ran_out_holds_until_somebody_else_claims(catalog: Catalog) -> None:
    queue = opened(catalog, 2)
    [(item, lease), (other, late)] = catalog.reviews.claim("local", queue.id, "me", 2, 60.0)
    expire(catalog)
    assert catalog.reviews.answer("local", item.id, "me", lease.token, "keep").state == "settled"
    [(again, _)] = catalog.reviews.claim("local", queue.id, "you", 2, 60.0)
    assert again.id == other.id
    with pytest.raises(LeaseLostError, match="claim anew"):
        catalog.reviews.answer("local", other.id, "me", late.token, "keep")


def test_skipped_items_are_not_shown_again_to_who_skipped_them(catalog: Catalog) -> None:
    queue = opened(catalog, 2)
    [(item, lease)] = catalog.reviews.claim("local", queue.id, "me", 1, 60.0)
    assert catalog.reviews.give_back("local", item.id, "me", lease.token, skip=True).state == "open"
    with pytest.raises(LeaseLostError):
        catalog.reviews.give_back("local", item.id, "me", lease.token, skip=True)
    assert [found.position for found, _ in catalog.reviews.claim("local", queue.id, "me", 9, 60.0)] == [1]
    assert [found.position for found, _ in catalog.reviews.claim("local", queue.id, "you", 9, 60.0)] == [0]
    assert catalog.reviews.num_skipped(queue.id) == 1


def test_what_is_given_back_is_free_for_the_same_reviewer(catalog: Catalog) -> None:
    queue = opened(catalog, 1)
    [(item, lease)] = catalog.reviews.claim("local", queue.id, "me", 1, 60.0)
    catalog.reviews.give_back("local", item.id, "me", lease.token, skip=False)
    [(again, newer)] = catalog.reviews.claim("local", queue.id, "me", 1, 60.0)
    assert again.id == item.id and newer.token != lease.token


def test_an_item_asked_of_two_is_asked_of_different_people(catalog: Catalog) -> None:
    queue = opened(catalog, 3, people=2)
    mine = catalog.reviews.claim("local", queue.id, "me", 9, 60.0)
    assert [item.position for item, _ in mine] == [0, 1, 2]
    assert catalog.reviews.claim("local", queue.id, "me", 9, 60.0) == []
    yours = catalog.reviews.claim("local", queue.id, "you", 9, 60.0)
    assert [item.position for item, _ in yours] == [0, 1, 2]
    for number, ((item, first), (_, second)) in enumerate(zip(mine, yours, strict=True)):
        assert catalog.reviews.answer("local", item.id, "me", first.token, "keep").state == "leased"
        done = catalog.reviews.answer("local", item.id, "you", second.token, "drop" if number else "keep")
        assert done.state == ("disputed" if number else "settled")
    expire(catalog)
    assert catalog.reviews.claim("local", queue.id, "third", 9, 60.0) == []


@pytest.mark.parametrize("token", ["", "0", "0.x", "-1.2", "0.1.2", "9" * 40 + ".1", "0.²"])
def test_a_token_nobody_gave_out_is_a_wrong_request(catalog: Catalog, token: str) -> None:
    queue = opened(catalog, 1)
    [(item, _)] = catalog.reviews.claim("local", queue.id, "me", 1, 60.0)
    with pytest.raises(RequestError, match="not given out"):
        catalog.reviews.answer("local", item.id, "me", token, "keep")


def test_another_tenants_reviews_do_not_exist(catalog: Catalog) -> None:
    other, queue = catalog.keys.tenant("other").id, opened(catalog)
    [(item, lease)] = catalog.reviews.claim("local", queue.id, "me", 1, 60.0)
    acts: list[Callable[[], object]] = [
        lambda: catalog.reviews.get(other, queue.id),
        lambda: catalog.reviews.items(other, queue.id),
        lambda: catalog.reviews.item(other, item.id),
        lambda: catalog.reviews.claim(other, queue.id, "me", 1, 60.0),
        lambda: catalog.reviews.answer(other, item.id, "me", lease.token, "keep"),
        lambda: catalog.reviews.give_back(other, item.id, "me", lease.token, skip=True),
    ]
    for act in acts:
        with pytest.raises(NotFoundError):
            act()
    assert catalog.reviews.page(other).items == ()
    assert catalog.reviews.find(other, "run_1", SETTINGS) is None


def claimed_at_once(catalog: Catalog, reviewers: list[str]) -> list[tuple[str, int]]:
    queue = opened(catalog, 24, people=2)
    found: list[tuple[str, int]] = []
    gate = threading.Barrier(len(reviewers))

    def act(reviewer: str) -> None:
        gate.wait()
        while True:
            held = catalog.reviews.claim("local", queue.id, reviewer, 3, 60.0)
            if not held:
                return
            found.extend((reviewer, item.position) for item, _ in held)

    threads = [threading.Thread(target=act, args=(reviewer,)) for reviewer in reviewers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_nobody_holds_an_item_twice_however_many_claim_at_once(postgresql: Catalog) -> None:
    found = claimed_at_once(postgresql, ["a", "a", "b", "b"])
    assert len(found) == len(set(found)) == 48
