"""What keys, TLS and encryption at rest cost, each beside the same without it, in one run on one cluster.

    python -m tests.bench.protection [--rounds 5] [--seconds 1.5] [--only WORD ...] [--output FILE] [--dir DIRECTORY]

Three data nodes, and three frontends of one datacenter: one asks for keys, one does not, one speaks TLS beside. Rounds go over
all rows in turn; in each of them both sides follow each other, in an order that changes with every round, so that a noisy
minute falls on both. Each ratio is the median of the rounds'. On a machine that others use believe CPU seconds: those of the
frontend that is asked do not tell how many cores were left for it. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ambry.client.sync.client import AmbryClient
from ambry.clock import SystemClock
from ambry.rest.names import CONTAINER_NAME
from deploy.certificates import CertificateAuthority, now_utc
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from deploy.local_processes import wait_until
from deploy.local_tls import HOSTS
from tests.bench import plan, report
from tests.bench.child import ANSWER_TIMEOUT_S, BenchFailed, Child, exit_code_of
from tests.bench.figures import Side, rate, ratio, side
from tests.bench.load import DRAIN_TIMEOUT_S, Job, Result
from tests.bench.scratch import scratch
from tests.support.rest import call

PART = 64 << 10
SAMPLE_EVERY = 64
WARMUP_S = 0.3
READY_TIMEOUT_S = 30.0
GIB = 1 << 30
KEYS_RATE_MIN = 0.95
TLS_RATE_MIN = 0.75
ENCRYPTED_RATE_MIN = 0.80
RANGE_RATE_MIN = 1 / 1.3


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what is measured, and the same without what is to be paid for. `least` is the bar: a share of the other's rate.

    `frontends` are the names of the processes that are asked, ours and the other.
    """

    name: str
    ours: Job
    beside: Job
    frontends: tuple[str, str]
    least: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """A row measured. The ratios are ours / the other, medians over the rounds; `cpu` is of the frontends alone."""

    name: str
    least: float
    ours: Side
    beside: Side
    rate_ratio: float
    round_rate_ratios: list[float]
    cpu_ratio: float
    all_cpu_ratio: float
    cpu_s_per_gib: tuple[float, float]

    @property
    def held(self) -> bool:
        return self.rate_ratio >= self.least


def cost(case: Case, ours: Sequence[Result], beside: Sequence[Result]) -> Cost:
    """`ours` and `beside` have one entry per round, in the same order."""
    size = case.ours.part_size or case.ours.size
    asked = case.frontends
    rates = [ratio(rate(one), rate(other)) for one, other in zip(ours, beside, strict=True)]
    cpu = [
        ratio(_each(one, one.cpu_s[asked[0]]), _each(other, other.cpu_s[asked[1]]))
        for one, other in zip(ours, beside, strict=True)
    ]
    sides = (side(ours, size), side(beside, size))
    whole = [
        ratio(side([one], size).cpu_s_per_1000, side([other], size).cpu_s_per_1000)
        for one, other in zip(ours, beside, strict=True)
    ]
    per_gib = [
        ratio(found.cpu_s[name] * GIB, found.operations * size) for found, name in zip(sides, asked, strict=True)
    ]
    return Cost(
        name=case.name,
        least=case.least,
        ours=sides[0],
        beside=sides[1],
        rate_ratio=statistics.median(rates),
        round_rate_ratios=[round(each, 3) for each in rates],
        cpu_ratio=statistics.median(cpu),
        all_cpu_ratio=statistics.median(whole),
        cpu_s_per_gib=(per_gib[0], per_gib[1]),
    )


def _each(result: Result, cpu_s: float) -> float:
    return ratio(cpu_s, result.operations)


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is asked: its port, and the processes whose CPU time counts (pid by name), its own among them."""

    name: str
    port: int
    watch: dict[str, int]
    tls: bool = False


def cases(
    keyed: Served, unguarded: Served, tls: Served, bare: Served, *, authorization: dict[str, str], seconds: float
) -> list[Case]:
    """All rows, in the order of one round: a PUT gives blobs to the GETs behind it."""

    def job(at: Served, **fields: object) -> Job:
        whole = fields["size"] != plan.SMALL and "part_size" not in fields
        values: dict[str, object] = {
            "port": at.port,
            "watch": at.watch,
            "tls": at.tls,
            "window_s": seconds,
            "whole": whole,
            "warmup_s": 0.0 if whole else WARMUP_S,
            "sample_every": 1 if whole else SAMPLE_EVERY,
        }
        return msgspec.convert(values | fields, Job)

    def case(name: str, ours: Job, beside: Job, asked: tuple[Served, Served], least: float) -> Case:
        return Case(name=name, ours=ours, beside=beside, frontends=(asked[0].name, asked[1].name), least=least)

    def beside_plain(name: str, least: float, headers: dict[str, str] = authorization, /, **fields: object) -> Case:
        return case(
            f"{name}, encrypted / plain",
            job(keyed, headers=headers, blobs="encrypted", **fields),
            job(keyed, headers=authorization, blobs="plain", **fields),
            (keyed, keyed),
            least,
        )

    encrypted = {**authorization, CONTAINER_NAME: "encrypted"}
    found = []
    for verb in ("POST", "GET"):
        small: dict[str, object] = {"verb": verb, "size": plan.SMALL, "connections": 32, "blobs": "plain"}
        found.append(
            case(
                f"4 KiB {verb}, keys / none",
                job(keyed, headers=authorization, **small),
                job(unguarded, **small),
                (keyed, unguarded),
                KEYS_RATE_MIN,
            )
        )
    for size, connections in ((plan.HUGE, 4), (plan.LARGE, 4)):
        puts = {"verb": "POST", "size": size, "connections": connections, "requests": plan.FULL.puts_max[size]}
        name = f"{_mib(size)} MiB PUT, {connections}"
        found.append(beside_plain(name, ENCRYPTED_RATE_MIN, encrypted, **puts))
    for size, connections in ((plan.HUGE, 4), (plan.HUGE, 1), (plan.LARGE, 4)):
        name = f"{_mib(size)} MiB GET, {connections}"
        found.append(beside_plain(name, ENCRYPTED_RATE_MIN, verb="GET", size=size, connections=connections))
    for connections in (4, 1):
        gets = {"verb": "GET", "size": plan.HUGE, "connections": connections}
        found.append(
            case(
                f"64 MiB GET, {connections}, TLS / bare TLS",
                job(tls, headers=authorization, blobs="plain", **gets),
                job(bare, **gets),
                (tls, bare),
                TLS_RATE_MIN,
            )
        )
    for step, connections in ((PART, 1), (PART, 16), (1, 16)):
        parts = {"verb": "GET", "size": plan.LARGE, "part_size": PART, "part_step": step, "connections": connections}
        name = f"64 KiB of 4 MiB{'' if step == PART else ', anywhere'}, {connections}"
        found.append(beside_plain(name, RANGE_RATE_MIN, **parts))
    return found


def _mib(size: int) -> int:
    return size >> 20


def measure(load: Child, found: Sequence[Case], *, rounds: int, out: Console) -> tuple[list[Cost], list[str]]:
    """All rows round by round, and what went wrong. Raises BenchFailed."""
    results: list[tuple[list[Result], list[Result]]] = [([], []) for _ in found]
    failures: list[str] = []
    for number in range(rounds):
        for case, both in zip(found, results, strict=True):
            if out.is_terminal:
                out.print(f"[dim]round {number + 1} of {rounds}: {case.name}[/dim]")
            for which in (0, 1) if number % 2 else (1, 0):
                job = (case.ours, case.beside)[which]
                limit = job.warmup_s + job.window_s + DRAIN_TIMEOUT_S + ANSWER_TIMEOUT_S
                result = msgspec.json.decode(load.ask(msgspec.json.encode(job), limit), type=Result)
                both[which].append(result)
                if result.failures or not result.operations:
                    failures.append(f"{case.name}: {result.failures} failures: {'; '.join(result.messages)}")
    return [cost(case, *both) for case, both in zip(found, results, strict=True)], failures


def show(out: Console, found: Sequence[Cost]) -> None:
    columns = (
        "row", "ops/s", "MB/s", "beside", "rate", "of the rounds", "bar", "", "CPU s/GiB", "beside", "CPU", "all CPU", "p50 ms",
        "beside", "others",
    )  # fmt: skip
    table = Table(
        title="Each beside the same without (ratios ours / beside; CPU of the frontends, then of all servers)",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for item in found:
        ours, beside = item.ours, item.beside
        table.add_row(
            item.name,
            f"{ours.rate:,.0f}",
            f"{ours.mb_per_s:,.0f}",
            f"{beside.mb_per_s:,.0f}",
            f"{item.rate_ratio:.2f}",
            f"{min(item.round_rate_ratios):.2f} to {max(item.round_rate_ratios):.2f}",
            f"{item.least:.2f}",
            "held" if item.held else "MISSED",
            f"{item.cpu_s_per_gib[0]:.2f}",
            f"{item.cpu_s_per_gib[1]:.2f}",
            f"{item.cpu_ratio:.2f}",
            f"{item.all_cpu_ratio:.2f}",
            f"{ours.p50_ms:.2f}",
            f"{beside.p50_ms:.2f}",
            f"{max(ours.others_cores, beside.others_cores):.1f}",
        )
    out.print(table)


def run_again(cluster: LocalCluster, member: Member, change: tuple[str, str]) -> None:
    """Start a frontend anew with another configuration: the first of `change` is replaced by the second.

    Raises BenchFailed, LocalClusterError.
    """
    cluster.kill(member.name, "TERM")
    member.config.write_text(member.config.read_text("utf-8").replace(*change), "utf-8")
    cluster.start(member.name, wait=False)

    def ready() -> bool:
        with contextlib.suppress(OSError):
            return call(member.admin_url, "GET", "/readyz").status == 200
        return False

    if not wait_until(ready, READY_TIMEOUT_S, 0.1):
        raise BenchFailed(f"{member.name} is not ready after {READY_TIMEOUT_S:.0f} s; its log: {member.log}")


def run(directory: Path, arguments: argparse.Namespace, out: Console) -> tuple[list[Cost], list[str]]:
    """Raises BenchFailed, LocalClusterError, OSError."""
    authority = CertificateAuthority(directory / "certs", now=now_utc(SystemClock().wall_ms()))
    authority.init("bench")
    certificate = authority.issue("front", identity=None, hosts=HOSTS)
    key = certificate.with_suffix(".key")
    with contextlib.ExitStack() as stack:
        load = Child.module("tests.bench.load")
        stack.callback(load.stop)
        sizes = (str(plan.HUGE),)
        bare_process = Child.module("tests.bench.bare", "--tls", str(certificate), str(key), *sizes)
        stack.callback(bare_process.stop)
        bare_port = int(bare_process.ask(b"", ANSWER_TIMEOUT_S))
        cluster = LocalCluster(directory / "cluster", datacenters=1, frontends=3, port_base=0, auth=True)
        stack.enter_context(cluster)
        keyed, unguarded, tls = cluster.frontends()
        # What an address alone may ask for is bounded, and that is not to be measured.
        open_section = "[access]\nenabled = false"
        run_again(cluster, unguarded, ("[access]", open_section))
        tls_section = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n\n[access]'
        run_again(cluster, tls, ("[access]", tls_section))
        authorization = {"Authorization": f"Bearer {cluster.key}"}
        with AmbryClient([keyed.url], key=cluster.key) as client:
            client.create_container("default", "encrypted", encrypted=True)

        def served(member: Member) -> Served:
            everyone = [member, *cluster.nodes()]
            watch = {each.name: pid for each in everyone if (pid := cluster.pid(each.name)) is not None}
            return Served(name=member.name, port=member.port, watch=watch)

        found = cases(
            served(keyed),
            served(unguarded),
            replace(served(tls), tls=True),
            Served(name="bare", port=bare_port, watch={"bare": bare_process.pid}, tls=True),
            authorization=authorization,
            seconds=arguments.seconds,
        )
        putting = [each for each in found if each.ours.verb == "POST"]
        wanted = [each for each in found if any(word in each.name for word in arguments.only or [""])]
        if not wanted:
            raise BenchFailed(f"no row has {' or '.join(arguments.only)} in its name")
        # What is read must be there, and what is measured is warm.
        measure(load, [each for each in putting if each not in wanted], rounds=1, out=out)
        return measure(load, wanted, rounds=arguments.rounds, out=out)


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, LocalClusterError, OSError."""
    with scratch(arguments.dir) as directory:
        found, failures = run(directory, arguments, out)
    if arguments.output:
        arguments.output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    show(out, found)
    for failure in failures:
        out.print(f"FAILED: {failure}", markup=False)
    return 1 if failures else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.protection", "Measure keys, TLS, encryption.")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each side of a row in a round (default 1.5)")
    arguments = parser.parse_args(words)
    out = report.console()
    out.width = max(out.width, 190)
    return exit_code_of(lambda: bench(arguments, out))


if __name__ == "__main__":
    sys.exit(main())
