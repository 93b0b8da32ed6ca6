"""Workers that stay alive: one gloo group per world size."""

import multiprocessing as mp
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


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


Gloo = Callable[[int], Pool]
