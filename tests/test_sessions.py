"""A visitor's photos are that visitor's alone, and gone with the session; looked at in a server's own memory."""

from concurrent.futures import ThreadPoolExecutor

from benchmarks.sessions import CountedServer, draw_photo, visitor
from tests.loops import finish


def test_photos_are_freed_with_their_session_and_out_of_reach_of_every_other(tmp_path):
    async def visit(server):
        with ThreadPoolExecutor(4) as threads:
            async with visitor(server, threads) as one, visitor(server, threads) as other:
                for number in range(3):
                    await one.upload(f"{number}.jpg", draw_photo(number))
                held = server.held()
                assert (held.sessions, held.files, held.pictures) == (2, 0, 3)
                last = draw_photo(3)
                urls = await one.put("3.jpg", last)  # it has come, and the page has not read it yet
                _, body = await other._request("GET", urls.upload_url)
                assert last not in body
                await other.claim("3.jpg", len(last), urls)  # as if it were the other's own
                held = server.held()
                assert (held.files, held.pictures) == (1, 3)
            assert (await server.forget()).nothing

    with CountedServer(tmp_path, seconds=2) as server:
        finish(visit(server))
