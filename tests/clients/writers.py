"""Clients that write until the server is killed under them."""
import threading
from contextlib import contextmanager


@contextmanager
def writing(server, writers):
    """Each writer writes in a thread of its own while the body runs; then the server is killed and all have ended.

    Gives the list of what went wrong with them, which the body may watch: it has to stay empty.
    """
    wrong = []

    def run(writer):
        try:
            writer.write_until_it_breaks()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(writer,), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        server.kill()
        for thread in threads:
            thread.join()
    assert not wrong, wrong
