"""A closed epoch is published in pages, under pseudonyms, and what is published leads to its root."""

import pytest
from books import ORGANIZATION, PROVIDER, Books

from billing.charging import funding
from billing.settling import epochs, publication
from market.epochs import verify_epoch
from market.errors import NotFound


def test_the_published_lines_recompute_the_epoch(books: Books) -> None:
    books.deposit(10_000_000)
    for run_ms in (50_000, 40_000, 30_000, 59_999, 1):
        terms, placed, stream = books.run()
        books.wait(60)
        books.report(stream.read(run_ms, final=True))
        books.end(placed)
        funding.end_job(books.session, terms.job_id, 1, books.now)
    with pytest.raises(NotFound):
        publication.epoch(books.session, 1)
    with pytest.raises(NotFound):
        publication.lines(books.session, 1, 0)
    assert epochs.close(books.session, books.now, books.config) == 1
    head = publication.epoch(books.session, 1)
    assert (head.epoch.line_count, head.epoch.total_microusd, head.anchor_signature) == (5, 180_000, None)
    pages = [publication.lines(books.session, 1, start, limit=2).lines for start in range(0, 8, 2)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    lines = [line for page in pages for line in page]
    assert verify_epoch(head.epoch, lines).problems == ()
    assert not verify_epoch(head.epoch, lines[:-1]).ok
    text = "".join(line.model_dump_json() for line in lines)
    assert ORGANIZATION not in text and PROVIDER not in text
