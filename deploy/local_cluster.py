"""A whole cluster as real processes on loopback, for people (`ambry cluster`), tests and benchmarks alike.

The files are explained in deploy/local_directory.py, names and ports in deploy/local_layout.py.

Who may outlive whom: with `detach` the processes go on when this one ends. Without it the kernel kills them when this
one dies, in whatever way. `down` finds both kinds in cluster.json.

Several commands on one directory at a time are safe: changes are made under its lock, and a recorded pid is believed
only after a look at /proc.
"""

from __future__ import annotations

import secrets
import shlex
import signal
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from deploy import local_processes as processes
from deploy.local_directory import LocalDirectory
from deploy.local_layout import ClusterFile, LocalClusterError, Member, Options, Role, Shape, members, new_shape, ports
from deploy.local_members import KILL_TIMEOUT_S, TERM_TIMEOUT_S, MemberProcesses, State, Status
from deploy.local_processes import wait_until
from deploy.local_profile import LocalProfile
from deploy.start_wait import QUIET_S, wait_while_moving

SHOWN_MAX = 3


class LocalCluster:
    """The cluster in one directory; as a context manager it is up inside and down afterwards.

    Options left at None take the stored value, or the default for a new cluster; those that contradict a stored one are
    refused by `up`, but for `workers`, the processes of each frontend, which it changes while no frontend runs. With `auth`
    requests need a key: the administrator's is in admin.key;
    with `tls` nobody speaks in the clear, and certs/authority.crt is to be trusted.
    `port_base=0` looks for free ports. `overrides` maps a role ("datanode", "frontend") to `--set` values
    ("store.io_threads=2"). `ready_timeout_s` is how long processes that start may do
    nothing. `report` gets sentences for people. Methods may be called from several threads.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        datacenters: int | None = None,
        nodes: int | None = None,
        frontends: int | None = None,
        partitions: int | None = None,
        port_base: int | None = None,
        workers: int | None = None,
        auth: bool | None = None,
        tls: bool | None = None,
        overrides: Mapping[str, Sequence[str]] | None = None,
        detach: bool = False,
        ready_timeout_s: float = QUIET_S,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self._files = LocalDirectory(self.directory)
        self._options = Options(
            datacenters=datacenters,
            nodes=nodes,
            frontends=frontends,
            partitions=partitions,
            port_base=port_base,
            workers=workers,
            auth=auth,
            tls=tls,
            overrides=overrides,
        )
        self._detach = detach
        self._ready_timeout_s = ready_timeout_s
        self._report = report or (lambda _: None)
        self._running = MemberProcesses(self._files, self._report)

    # What it is

    @property
    def shape(self) -> Shape:
        """Counts, ports and overrides as stored. Raises LocalClusterError when the directory holds no cluster."""
        return self._files.shape

    @property
    def members(self) -> tuple[Member, ...]:
        """Every process, whether it runs or not."""
        return self._files.members

    def frontends(self, datacenter: str | None = None) -> list[Member]:
        """The frontends of one datacenter, or of all."""
        return self._select("frontend", datacenter)

    def nodes(self, datacenter: str | None = None) -> list[Member]:
        """The data nodes of one datacenter, or of all."""
        return self._select("datanode", datacenter)

    def member(self, name: str) -> Member:
        """Raises LocalClusterError with the known names."""
        for member in self.members:
            if member.name == name:
                return member
        known = ", ".join(member.name for member in self.members)
        raise LocalClusterError(f"there is no process {name}; this cluster has {known}")

    @property
    def profile(self) -> LocalProfile:
        """What clients on this machine are told of it; it stands in profile.toml too."""
        return self._files.profile()

    @property
    def key(self) -> str | None:
        """The administrator's key; None where no keys are asked for. Raises LocalClusterError, OSError."""
        return self._files.access.key() if self.shape.auth else None

    def describe(self) -> ClusterFile:
        """What stands in cluster.json."""
        return self._files.describe()

    def pid(self, name: str) -> int | None:
        """The pid of a running process."""
        process = self._running.find(self.member(name))
        return process.pid if process else None

    def obituary(self, name: str) -> str:
        """How a process ended that this object started and that does not run, with the last lines of its log."""
        return self._running.obituary(self.member(name))

    # Up and down

    def up(self) -> list[str]:
        """Start whatever does not run, wait until all of it is ready, as `wait_ready` does, and return the names started.

        When that fails, what this call started is stopped again and the logs are kept. Raises LocalClusterError.
        """
        processes.require_server()
        self._files.create(self._new_shape)
        self._files.refuse_contradictions(self._options)
        everyone = self.members
        started: list[str] = []
        try:
            with self._files.locked():
                self._adopt_workers()
                self._files.write_files()
                missing = [member for member in everyone if not self._running.find(member)]
                self._require_ports(missing)
                # Joining a cluster that somebody else keeps up: these must live as long as the others.
                joining = len(missing) < len(everyone) and not any(
                    self._running.find(m) for m in self._running.own(everyone)
                )
                if missing:
                    self._report(f"Starting the cluster in {self.directory} ...")
                for member in missing:
                    started.append(member.name)
                    self._running.spawn(member, die_with_parent=not (self._detach or joining))
            self.wait_ready()
        except BaseException:
            # An interrupt too: nobody would know of these processes.
            with self._files.locked():
                self._running.stop([self.member(name) for name in started])
                self._files.forget(started)
            raise
        return started

    def down(self, *, term_timeout_s: float = TERM_TIMEOUT_S) -> list[str]:
        """Stop everything, frontends first, and return the names that ran. Raises LocalClusterError.

        What still runs `term_timeout_s` after TERM is killed, and reported.
        """
        if not self._files.exists:
            return []
        stopped = []
        with self._files.locked():
            for group in (self.frontends(), self.nodes()):
                stopped += self._running.stop(group, term_timeout_s)
            self._files.forget(member.name for member in self.members)
        return stopped

    def kill(self, name: str, number: signal.Signals | str = signal.SIGKILL) -> int | None:
        """Send a signal to one process. Raises LocalClusterError.

        For KILL and TERM it returns when the process is gone, with its exit code (negative: the signal) if this object
        started it; for STOP when it is stopped, for CONT when it runs again, always None.
        """
        number = signal_number(number)
        member = self.member(name)
        process = self._running.find(member)
        if process is None:
            raise LocalClusterError(f"{name} does not run")
        process.send(number)
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            if number != signal.SIGKILL and process.state() in ("T", "t"):
                # It acts on the signal only when it runs again.
                process.send(signal.SIGCONT)
            if not self._running.gone(member, process, TERM_TIMEOUT_S):
                raise LocalClusterError(
                    f"{name} still runs {TERM_TIMEOUT_S:.0f} s after {number.name}; its log: {member.log}"
                )
            with self._files.locked():
                if self.describe().pids().get(name) == process.pid:
                    self._files.forget([name])
            return self._running.exit_code(member, process)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            stopped = number == signal.SIGSTOP
            wait_until(lambda: (process.state() in ("T", "t", None)) == stopped, KILL_TIMEOUT_S, 0.002)
        return None

    def start(self, name: str, *, wait: bool = True) -> bool:
        """Start one process that does not run and wait, as `wait_ready` does; False when it ran already.

        One that is not ready in time is left running. Raises LocalClusterError.
        """
        processes.require_server()
        member = self.member(name)
        with self._files.locked():
            if self._running.find(member):
                return False
            self._files.write_files()
            self._require_ports([member])
            self._running.spawn(member, die_with_parent=not self._detach)
        if wait:
            self.wait_ready([name])
        return True

    def wait_ready(self, names: Iterable[str] | None = None, timeout_s: float | None = None) -> None:
        """Wait until the processes (default: all) are ready, but for replicas that stay closed: those are reported.

        Raises LocalClusterError at once when one of them ends, and when for `timeout_s` none became ready, said anything new
        or, before it answers, was at work.
        """
        limit = self._ready_timeout_s if timeout_s is None else timeout_s
        waiting = [self.member(name) for name in names] if names is not None else list(self.members)
        answers: dict[str, str] = {}

        def look() -> Hashable | None:
            moving: list[int | None] = []
            for member in list(waiting):
                status = self._running.status(member)
                answers[member.name] = status.detail or status.state
                moving.append(status.started_for)
                if status.state == "down":
                    raise LocalClusterError(self._running.obituary(member))
                if status.state == "ready" or status.closed:
                    waiting.remove(member)
                for reason in status.closed:
                    self._report(f"{member.name} serves, but {reason}")
            return (*(answers[member.name] for member in waiting), *moving) if waiting else None

        def tell() -> None:
            late = [f"{member.name} ({answers[member.name]})" for member in waiting]
            more = f" and {len(late) - SHOWN_MAX} more" if len(late) > SHOWN_MAX else ""
            self._report(f"waiting for {', '.join(late[:SHOWN_MAX])}{more}")

        if why := wait_while_moving(look, quiet_s=limit, tell=tell):
            late = [f"  {member.name}: {answers[member.name]}" for member in waiting]
            words = self._running.last_words(waiting[0])
            raise LocalClusterError("\n".join([f"not ready, and {why}:", *late, *words]))

    def status(self, names: Iterable[str] | None = None) -> list[Status]:
        """Every process (or these) as it is now."""
        wanted = self.members if names is None else [self.member(name) for name in names]
        return [self._running.status(member) for member in wanted]

    def supervise(self, look: Callable[[], None] = lambda: None) -> None:
        """Report every process that ends, pauses or comes back, until nothing runs any more, or `look`, each second, raises."""
        states: dict[str, State] = {member.name: "ready" for member in self.members}
        pids: dict[str, int] = {}

        def over() -> bool:
            look()
            for status in self.status():
                name = status.member.name
                if status.state != states[name]:
                    states[name] = status.state
                    down = status.state == "down"
                    self._report(
                        self._running.obituary(status.member, pids.get(name)) if down else f"{name} is {status.state}"
                    )
                if status.pid is not None:
                    pids[name] = status.pid
            return all(state == "down" for state in states.values())

        while not wait_until(over, 3600.0, 1.0):
            pass

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()

    # Processes

    def _select(self, role: Role, datacenter: str | None) -> list[Member]:
        found = [m for m in self.members if m.role == role and datacenter in (None, m.datacenter)]
        if not found:
            raise LocalClusterError(
                f"there is no datacenter {datacenter}; this cluster has dc1 to dc{self.shape.datacenters}"
            )
        return found

    def _new_shape(self) -> Shape:
        # The name stands in every data directory, and keeps those of two clusters apart.
        name = f"local-{secrets.token_hex(4)}"
        options = self._options

        def shape_at(base: int) -> Shape:
            return new_shape(msgspec.structs.replace(options, port_base=base), cluster=name)

        if options.port_base == 0:
            base = processes.free_port_base(lambda base: list(ports(members(shape_at(base), self.directory))))
            return shape_at(base)
        shape = new_shape(options, cluster=name)
        self._require_ports(members(shape, self.directory))
        return shape

    def _adopt_workers(self) -> None:
        """Have as many workers as are asked for. Raises LocalClusterError while frontends run with another number."""
        wanted, stored = self._options.workers, self.shape.workers
        if wanted is None or wanted == stored:
            return
        if running := [member.name for member in self.frontends() if self._running.find(member)]:
            raise LocalClusterError(
                f"{', '.join(running)} {'runs' if len(running) == 1 else 'run'} with --workers {stored}, not {wanted}; "
                f"stop the cluster, then start it with the other number: "
                f"ambry cluster down --dir {shlex.quote(str(self.directory))}"
            )
        self._files.set_workers(wanted)

    def _require_ports(self, wanted: Sequence[Member]) -> None:
        names = ports(wanted)
        held = processes.taken(list(names))
        if held:
            listed = ", ".join(f"{port} of {names[port]}" for port in held[:4])
            listed += " and more" if len(held) > 4 else ""
            other = "" if self._files.exists else ", or choose other ports with --port-base"
            if not any(map(processes.has_listener, held)):
                raise LocalClusterError(
                    f"a connection of this machine has port {listed}, or had it a minute ago, and nobody listens there: the "
                    f"system takes such ports for clients (net.ipv4.ip_local_port_range); wait{other or ' and try again'}"
                )
            raise LocalClusterError(
                f"something else listens on port {listed}; see who with `ss -ltnp 'sport = :{held[0]}'`{other}"
            )


def signal_number(name: signal.Signals | str) -> signal.Signals:
    """`KILL`, `SIGKILL` or signal.SIGKILL as a signal. Raises LocalClusterError."""
    if isinstance(name, signal.Signals):
        return name
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise LocalClusterError(f"there is no signal {name}") from None
