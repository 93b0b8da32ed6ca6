"""Workers that stay alive: one gloo group per world size for the whole session."""

import multiprocessing as mp
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _serve(rank: int, world: int, rendezvous: str, connection: Connection) -> None:
    torch.set_num_threads(1)  # children of a parent that used OpenMP hang otherwise
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    while (message := connection.recv_bytes()) != b"":
        function, arguments = pickle.loads(message)
        try:
            answer = (True, function(*arguments))
        except Exception:
            answer = (False, traceback.format_exc())
        connection.send_bytes(pickle.dumps(answer))
    dist.destroy_process_group()


class Pool:
    """`world` processes, ranks 0 to world − 1 of one gloo group."""

    def __init__(self, world: int, folder: Path) -> None:
        context = mp.get_context("fork")
        self.connections, self.processes = [], []
        for rank in range(world):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, world, str(folder / "rendezvous"), there), daemon=True)
            process.start()
            self.connections.append(here)
            self.processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a module-level function on every rank; a list argument gives each rank its item."""
        for rank, connection in enumerate(self.connections):
            own = [a[rank] if isinstance(a, list) else a for a in arguments]
            connection.send_bytes(pickle.dumps((function, own)))
        answers = [pickle.loads(connection.recv_bytes()) for connection in self.connections]
        for good, answer in answers:
            if not good:
                raise RuntimeError(answer)
        return [answer for _, answer in answers]

    def close(self) -> None:
        """End the workers."""
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send_bytes(b"")
            process.join(timeout=30)


@pytest.fixture(scope="session")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Pool]]:
    """`gloo(world)`: the pool of that many ranks, started on first use."""
    pools: dict[int, Pool] = {}

    def pool(world: int) -> Pool:
        if world not in pools:
            pools[world] = Pool(world, tmp_path_factory.mktemp(f"gloo{world}"))
        return pools[world]

    yield pool
    for started in pools.values():
        started.close()
