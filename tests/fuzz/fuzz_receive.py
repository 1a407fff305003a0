"""Throw broken streams at a real receiver for a while, and broken bytes at its readers: no hang, no leak, no crash.

Run by ``make fuzz-receive``. After each batch the receiver must still answer C-ECHO and C-STORE in time, by the same
processes; at the end it must hold no more descriptors, threads or memory than after the first batch, and exactly what
it keeps must be in its database. A batch after which something is wrong is left in the folder of --findings.
"""

import argparse
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from broken_streams import stream
from dicom_instances import SyntheticSeries, kept_digests
from dicom_sender import SUCCESS, Association, Message, Peer
from in_process_targets import TARGETS
from soak_receive import Burden, Soak, burdens, open_at_once
from storage_servers import Receiver, wait_for

THREADS = 24
BATCH = 240
ANSWER_S = 10.0
SILENCE_S = 3.0
SETTLE_S = 40.0
MEMORY_BOUND_MIB = 24.0
IN_PROCESS_SHARE = 0.15  # of the time, for each of the byte-level readers


def throw(port: int, called: str, seed: int) -> str | None:
    """Send one stream and end the connection in one of the ways it can end; return what was wrong."""
    rng = random.Random(seed)
    pieces = stream(rng, called)
    ending = rng.choice(("close", "close", "wait", "half", "reset"))
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number, piece in enumerate(pieces):
                connection.sendall(piece)
                if number == 0 and rng.random() < 0.9:
                    connection.recv(65536)
            if ending == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif ending != "close":
                if ending == "half":
                    connection.shutdown(socket.SHUT_WR)
                connection.settimeout(SILENCE_S + ANSWER_S)
                while connection.recv(65536):
                    pass
        except TimeoutError:
            return f"seed {seed}: the receiver neither answers nor hangs up ({ending})"
        except OSError:
            pass
    return None


def health(receiver: Receiver, number: int) -> str | None:
    """Say what is wrong with a receiver that should take one sound instance now."""
    started_s = time.monotonic()
    try:
        association = Association(Peer(receiver.port, receiver.ae_title), timeout_s=ANSWER_S)
        message = Message(association, SyntheticSeries(5000 + number, 32)).of(1)
        statuses = (association.echo(), association.store(message))
        association.release()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is no answer)
        return f"no answer: {type(error).__name__}: {error}"
    if statuses != (SUCCESS, SUCCESS):
        return f"C-ECHO and C-STORE were answered with {statuses}"
    took_s = time.monotonic() - started_s
    return f"C-ECHO and C-STORE took {took_s:.1f} s" if took_s > ANSWER_S else None


def batches(receiver: Receiver, first_seed: int, until_s: float) -> Iterator[tuple[int, list[str]]]:
    """Throw batch after batch; yield the first seed after each, and what was wrong."""
    seed = first_seed
    pids = set(burdens(receiver.pid))
    with ThreadPoolExecutor(THREADS) as pool:
        while time.monotonic() < until_s:
            seeds = range(seed, seed + BATCH)
            wrong = [said for said in pool.map(lambda s: throw(receiver.port, receiver.ae_title, s), seeds) if said]
            said = health(receiver, seed)
            if said:
                wrong.append(f"after the seeds {seed} to {seed + BATCH - 1}: {said}")
            if set(burdens(receiver.pid)) != pids:
                wrong.append(f"a process ended within the seeds {seed} to {seed + BATCH - 1}")
            seed += BATCH
            yield seed, wrong


def settled(receiver: Receiver, before: dict[int, Burden]) -> dict[int, Burden]:
    """Wait until what is open has ended; return what each process holds."""
    deadline_s = time.monotonic() + (SETTLE_S if before else 3 * SILENCE_S)
    while True:
        now = burdens(receiver.pid)
        flat = all(now[pid].fds <= held.fds and now[pid].threads <= held.threads for pid, held in before.items())
        if (before and flat) or time.monotonic() > deadline_s:
            return now
        time.sleep(0.5)


def fuzz_receiver(receiver: Receiver, first_seed: int, seconds: float) -> list[str]:
    """Throw streams at a receiver; return what was wrong."""
    started_s = time.monotonic()
    seed, wrong = next(batches(receiver, first_seed, started_s + seconds))
    open_at_once(receiver, 2 * THREADS)
    before = settled(receiver, {})
    for reached, found in batches(receiver, seed, started_s + seconds):
        seed = reached
        wrong += found
        if found:
            break
    after = settled(receiver, before)
    for pid, held in before.items():
        print(f"process {pid}: after the first batch {held}; at the end {after[pid]}")
        if after[pid].fds > held.fds or after[pid].threads > held.threads:
            wrong.append(f"process {pid} holds more descriptors or threads than after the first batch")
        if after[pid].memory_mib - held.memory_mib > MEMORY_BOUND_MIB:
            wrong.append(f"process {pid} has grown by more than {MEMORY_BOUND_MIB:g} MiB")
    print(f"streams: {seed - first_seed} in {time.monotonic() - started_s:.0f} s, seeds {first_seed} to {seed - 1}")
    return wrong + kept_as_recorded(receiver)


def kept_as_recorded(receiver: Receiver) -> list[str]:
    """Compare the spool with the database and look for what has no place there."""
    wrong = []
    kept = kept_digests(receiver.spool)
    soak = Soak(receiver, kept, [])
    with suppress(TimeoutError):  # a row follows Success by half a second
        wait_for(lambda: soak.recorded() == kept, "rows", timeout_s=ANSWER_S)
    recorded = soak.recorded()
    if kept != recorded:
        wrong.append(f"{sum(kept.values())} files are kept, {sum(recorded.values())} recorded")
    wrong += [f"left in incoming: {path.name}" for path in receiver.node.home.incoming.iterdir()]
    log = (receiver.folder.parent / f"{receiver.folder.name}.log").read_text()
    if "Traceback" in log:
        wrong.append("the log holds a traceback:" + log[log.index("Traceback") :][:2000])
    print(f"instances kept and recorded: {sum(kept.values())}")
    return wrong


def fuzz_in_process(seconds: float, findings: Path) -> list[str]:
    """Run the coverage-guided fuzzer on each byte-level reader; return what was wrong."""
    if find_spec("atheris") is None:
        print("atheris is not installed on this platform: the readers are fuzzed through the network alone")
        return []
    wrong = []
    for target in TARGETS:
        folder = findings / target
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(Path(__file__).with_name("fuzz_in_process.py")), target]
        run = subprocess.run([*command, str(int(seconds)), str(folder)], capture_output=True, text=True, check=False)
        executed = [line for line in run.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{target}: {''.join(executed) or 'ended early'}")
        if run.returncode != 0:
            wrong.append(f"{target}: see {folder}\n{run.stderr[-3000:]}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--first-seed", type=int, default=int(time.time()))
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "covnode-fuzz")
    arguments = parser.parse_args()
    share_s = max(5.0, IN_PROCESS_SHARE * arguments.seconds)
    wrong = fuzz_in_process(share_s, arguments.findings)
    with tempfile.TemporaryDirectory(prefix="covnode-fuzz-") as name:
        receiver = Receiver(Path(name) / "covnode")
        try:
            receiver.start()
            receiver.stop()
            receiver.configure({"receive.network_timeout_s": str(SILENCE_S), "receive.max_associations": "512"})
            receiver.start_again()
            wrong += fuzz_receiver(receiver, arguments.first_seed, arguments.seconds - len(TARGETS) * share_s)
        finally:
            receiver.stop()
            shutil.copy(Path(name) / "covnode.log", arguments.findings.parent / "covnode-fuzz.log")
    for said in wrong:
        print(f"FOUND {said}")
    print(f"hangs_leaks_and_crashes: {len(wrong)} (goal 0)")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
