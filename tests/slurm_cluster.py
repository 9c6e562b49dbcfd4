"""A real Slurm on this machine for the tests: munged, slurmctld and a slurmd for each node, on loopback alone.

Each daemon runs in a PID namespace of its own, whose first process is a shell that ends when the daemon does, or at the
first line, or the end, of its standard input, a pipe from this process; then the kernel kills all that is in the
namespace. So a line is a power cut, to slurmd, slurmstepd and jobs at once, and a test run that is itself killed leaves
nothing behind.
"""

import dataclasses
import os
import pathlib
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping

_CONFIGURATION = """\
ClusterName=tests
SlurmUser={user}
SlurmdUser={user}
SlurmctldHost=localhost
SlurmctldPort={controller_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
# A requeued job waits until its credential has expired: two minutes unless told otherwise.
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
MailProg=/bin/true
# No control groups and no accounting: neither is there on every cluster.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
KillWait=2
MinJobAge=10
NodeName={nodes} NodeHostname=localhost NodeAddr=127.0.0.1 Port={node_ports} CPUs={cpus} RealMemory=4096
PartitionName=all Nodes=ALL Default=YES DefaultTime=10 MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL DefaultTime=10 MaxTime=INFINITE PriorityTier=2 State=UP
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
"""

# Slurm listens at the address of the machine's name, which is seldom on loopback: so that name is changed.
_UNTIL_IT_ENDS_OR_A_LINE_COMES = 'hostname localhost; trap "exit 1" TERM; { "$@"; kill 1; } & read end'


class SlurmError(RuntimeError):
    """Slurm is not installed, or does not do what a test needs; the message says what to install, or ends its logs."""


@dataclasses.dataclass(frozen=True)
class SlurmCluster:
    """A running cluster of its own; ``with SlurmCluster.start(folder) as cluster`` stops it whatever happens.

    Jobs go to the partition ``all`` unless told otherwise; those of the partition ``urgent`` preempt them, which
    requeues them.

    Attributes:
        folder: holds its configuration, state, logs, key and sockets.
        nodes: their names; all are this machine.
        environment: variables with which Slurm's commands, and programs that call them, talk to this cluster.
    """

    folder: pathlib.Path
    nodes: tuple[str, ...]
    environment: Mapping[str, str]
    _running: dict[str, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def start(cls, folder: pathlib.Path, *, nodes: int = 2, cpus: int = 2) -> "SlurmCluster":
        """Start the daemons and wait, one or two seconds, until every node is idle.

        Args:
            folder: an empty one, with a path short enough for the name of a socket.
            nodes: number of nodes.
            cpus: that each node claims to have, whatever this machine has.

        Raises:
            SlurmError: it is not installed, or does not come up.
        """
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        for program in ("munged", "slurmctld", "slurmd", "sbatch", "unshare"):
            if shutil.which(program, path=path) is None:
                raise SlurmError(
                    f"{program} is not installed, and the tests run a real Slurm: on Debian, apt-get install -y "
                    "slurm-wlm munge util-linux"
                )
        folder = folder.resolve()
        if len(str(folder)) > 75 or set(str(folder)) & set(" ,#%="):
            raise SlurmError(f"{folder} is too long for the name of a socket, or has a character Slurm cannot read")
        names = tuple(f"node{i + 1}" for i in range(nodes))
        ports = _free_ports(1 + nodes)
        (folder / "state").mkdir()
        (folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                folder=folder,
                user=pwd.getpwuid(os.geteuid()).pw_name,
                controller_port=ports[0],
                nodes=",".join(names),
                node_ports=",".join(map(str, ports[1:])),
                cpus=cpus,
            )
        )
        (folder / "munge.key").touch(mode=0o600)
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        cluster = cls(folder, names, {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path})
        try:
            cluster._start_daemons()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def stop(self) -> None:
        """Kill every process of the cluster. May be called twice."""
        for name in reversed(list(self._running)):
            self._kill(name)

    def __enter__(self) -> "SlurmCluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self, *words: str) -> str:
        """What a command of Slurm prints, as in ``command("squeue", "--noheader")``.

        Raises:
            SlurmError: it failed.
        """
        done = subprocess.run(words, env=self._full_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SlurmError(f"{' '.join(words)} failed: {done.stderr.strip()}")
        return done.stdout

    def kill_node(self, node: str) -> None:
        """Cut a node's power: slurmd, slurmstepd and jobs get SIGKILL, and are gone on return. Slurm is told, which
        would find out by itself after SlurmdTimeout, and requeues the jobs."""
        self._kill(node)
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed")

    def revive_node(self, node: str) -> None:
        """Start a killed node again and wait until jobs can run on it."""
        self._spawn(node, "slurmd", "-D", "-N", node)
        self._wait(lambda: self._state(node) in ("idle", "mixed", "allocated"), f"{node} has not come back")

    def wait_idle(self, seconds: float = 60.0) -> None:
        """Wait until no job is queued or running, and every node that is not killed is idle.

        Raises:
            SlurmError: it is not so after that many seconds.
        """

        def idle() -> bool:
            nodes = [node for node in self.nodes if node in self._running]
            return not self.command("squeue", "--noheader") and all(self._state(node) == "idle" for node in nodes)

        self._wait(idle, "the cluster is not idle", seconds)

    def _start_daemons(self) -> None:
        # Forced, or it would not have its socket in a folder that others cannot enter.
        names = {"socket": "munge.socket", "key-file": "munge.key", "seed-file": "munge.seed", "pid-file": "munged.pid"}
        files = [f"--{option}={self.folder / name}" for option, name in names.items()]
        self._spawn("munged", "munged", "--foreground", "--force", "--origin=127.0.0.1", *files)
        self._wait((self.folder / "munge.socket").exists, "munged has made no socket")
        self._spawn("slurmctld", "slurmctld", "-D")
        for node in self.nodes:
            self._spawn(node, "slurmd", "-D", "-N", node)
        self.wait_idle()

    def _state(self, node: str) -> str:
        return self.command("sinfo", "--noheader", "--partition=all", f"--nodes={node}", "--format=%T").strip()

    def _wait(self, condition: Callable[[], bool], complaint: str, seconds: float = 60.0) -> None:
        end, error = time.monotonic() + seconds, ""
        while True:
            try:
                if condition():
                    return
            except SlurmError as problem:  # such as a controller that does not answer yet
                error = f": {problem}"
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > end:
                why = f"{', '.join(ended)} ended" if ended else f"{complaint} after {seconds:.0f} seconds{error}"
                raise SlurmError("\n".join([why, *(_last_lines(log) for log in sorted(self.folder.glob("*.log")))]))
            time.sleep(0.1)

    def _full_environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return {**others, **self.environment}

    def _spawn(self, name: str, *command: str) -> None:
        if name in self._running:
            raise SlurmError(f"{name} is running already")
        namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--uts"]
        if os.geteuid() != 0:
            namespace += ["--user", "--map-current-user", "--keep-caps"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*namespace, "sh", "-c", _UNTIL_IT_ENDS_OR_A_LINE_COMES, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._full_environment(),
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop the cluster
            )

    def _kill(self, name: str) -> None:
        # A line, and not only the end: a fork of this process would keep the pipe open.
        self._running.pop(name).communicate(b"end\n")


def _free_ports(number: int) -> list[int]:
    """Ports that nobody has, below those that the kernel gives to outgoing connections."""
    ports: list[int] = []
    while len(ports) < number:
        port = 20000 + secrets.randbelow(10000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)):
                ports.append(port)
    return ports


def _last_lines(log: pathlib.Path, number: int = 12) -> str:
    return "\n".join([f"{log.name}:", *log.read_text(errors="replace").splitlines()[-number:]])
