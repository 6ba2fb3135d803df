"""URLs of files: nobody can guess one, and each means one file."""

from __future__ import annotations

import pytest

from cupola.errors import UnauthenticatedError
from cupola.files import FileLinks
from cupola.values import encode_id

TABLE = 530
LINKS = FileLinks(b"secret", TABLE, "https://files.example")
ID = encode_id(TABLE, bytes(range(16)))


def last_part(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_url_leads_back_to_its_id_and_does_not_contain_it() -> None:
    url = LINKS.file_url(ID)
    assert url.startswith("https://files.example/api/storage/")
    assert ID not in url
    assert LINKS.document_id(last_part(url)) == ID


def test_another_deployment_has_other_urls() -> None:
    other = FileLinks(b"another secret", TABLE)
    assert last_part(other.file_url(ID)) != last_part(LINKS.file_url(ID))
    assert other.document_id(last_part(LINKS.file_url(ID))) != ID


@pytest.mark.parametrize(
    "text", ["", ID, "../etc", "0" * 32, last_part(LINKS.file_url(ID)).upper()]
)
def test_what_is_no_uuid_is_no_url(text: str) -> None:
    assert LINKS.document_id(text) is None


def test_an_upload_url_holds_until_it_expires() -> None:
    token = LINKS.upload_url(1_000).partition("token=")[2]
    LINKS.check_upload_token(token, now_ns=1_000)
    with pytest.raises(UnauthenticatedError) as late:
        LINKS.check_upload_token(token, now_ns=1_001)
    assert late.value.code == "StorageTokenExpired"


@pytest.mark.parametrize("token", ["", "x", "é", "AAAA", "A" * 32])
def test_a_token_that_was_not_made_here_is_refused(token: str) -> None:
    with pytest.raises(UnauthenticatedError) as wrong:
        LINKS.check_upload_token(token, now_ns=0)
    assert wrong.value.code == "InvalidStorageToken"
