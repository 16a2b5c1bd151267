"""Ten hospitals and three sealed groups: `make demo-v2`.

They train a model together in version 2 of the protocol, through a real coordinator and nine members that are processes of
their own. During the training one member of a group is killed for good, and one of another group lies in all ways that it
has; each global model is compared with the plain mean of the models that count. Then the coordinator and two whole groups
try to unmask a hospital, with all that they have.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import textwrap
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import data as hospitals_data
import network
import report
import sealed_chart
from committee import GROUPS, MEMBERS, Committee, Liar, Member
from coordinator import Coordinator, CoordinatorFailed, Round
from data import Patients
from network import Weights
from processes import Process, ProcessFailed, run
from sealed_chart import Row
from sealed_check import Numbers, WrongModel, compare, decode, judge, left_of, the_model
from sealed_hospital import Late, Meeting, SealedHospital
from xaynet_sdk import InternalParticipant, spawn_participant

SETTINGS = Path(__file__).with_name("sealed.toml")
ROUNDS = 8
HOSPITALS = 10
ROUND_SECONDS = 180.0
# After this many failed rounds it is not chance any more.
MOST_FAILURES = 8

KILL_IN = 2
KILLED, LYING = (0, 2), (1, 2)
LEAGUE = (1, 2)


@dataclass(frozen=True)
class Lie:
    """A lie, and how the others get the better of it."""

    command: str
    # The short name in the picture, and what is said when it is told.
    name: str
    announced: str
    # The name of the coordinator's note about it, or else of its answer to the message; and what that means.
    found_as: str
    outcome: str


LIES = (
    Lie(
        "lie vote",
        "false vote",
        "votes for a set without one hospital",
        "bad_signature",
        "its vote is refused; two of its group have voted for the ten",
    ),
    Lie(
        "lie mask",
        "wrong mask",
        "signs a wrong mask",
        "lying_mask",
        "it is named, and outvoted by the two others of its group",
    ),
    Lie(
        "lie accuse 1",
        "accuses one",
        "says of one hospital that its box does not open",
        "updaters_excluded",
        "hospital {} is left out, and who has accused it is named: the mean of nine",
    ),
    Lie(
        "lie accuse 6",
        "accuses six",
        "says so of six",
        "member_disregarded",
        "those are more than a member may accuse: it is named, and all ten count",
    ),
)


@dataclass
class Federation:
    """All that runs."""

    coordinator: Coordinator
    committee: Committee
    members: dict[tuple[int, int], Process]
    liar: Liar
    participants: list[InternalParticipant]
    meeting: Meeting
    rows: list[Row] = field(default_factory=list)
    dead: set[tuple[int, int]] = field(default_factory=set)
    # How many failed rounds were reported.
    failures: int = 0

    def check(self) -> None:
        """Raises if anything has ended that should run."""
        self.coordinator.check()
        self.liar.process.check()
        for process in self.members.values():
            process.check()
        for number, participant in enumerate(self.participants, start=1):
            if participant.error is not None:
                raise ProcessFailed(f"hospital {number} has failed: {participant.error!r}")
        failures = self.coordinator.failures()
        if len(failures) > MOST_FAILURES:
            raise CoordinatorFailed(
                f"{len(failures)} rounds have failed, the last one in {failures[-1].failure}"
            )
        number, phase = self.coordinator.under_way()
        report.progress(f"{number:5}   {phase}")

    def wait_for_update(self, seconds: float) -> None:
        """Waits for an update phase: the members have announced themselves, and the hospitals are to train."""
        deadline = time.monotonic() + seconds
        while self.coordinator.under_way()[1] != "update":
            self.check()
            if time.monotonic() > deadline:
                raise CoordinatorFailed(
                    f"no round has come to its updates in {seconds:.0f} s:\n{self.coordinator.log()}"
                )
            time.sleep(0.05)

    def meet(self) -> list[Weights | None]:
        """Waits until all hospitals are about to train; what each begins with."""
        try:
            return self.meeting.wait(ROUND_SECONDS, self.check)
        except Late as error:
            raise CoordinatorFailed(f"{error}:\n{self.coordinator.log()}") from error

    def seeds_of(self, number: int) -> list[int]:
        """Of which group each seed is that the colluders have of a round: one for each box."""
        try:
            lines = self.liar.seeds.read_text().splitlines()
        except FileNotFoundError:
            return []
        words = [line.split() for line in lines]
        return [int(line[1].split(".")[0]) for line in words if int(line[0]) == number]


def main() -> int:
    options = argparse.ArgumentParser(prog="demo-v2", description=__doc__)
    options.add_argument(
        "--coordinator", type=Path, required=True, help="the pet-coordinator binary"
    )
    options.add_argument("--colluders", type=Path, required=True, help="the example sealed_groups")
    options.add_argument(
        "--plot", type=Path, default=Path("demo-out/sealed.png"), help="where to save the picture"
    )
    options.add_argument(
        "--rounds", type=int, default=ROUNDS, help="how many rounds to train, at least six"
    )
    arguments = options.parse_args()
    if arguments.rounds < KILL_IN + len(LIES):
        options.error(f"--rounds must be at least {KILL_IN + len(LIES)}")
    # What participants log is shown by the demo itself.
    logging.getLogger("participant").setLevel(logging.ERROR)
    # Whichever way it is told to end, it takes all processes along.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            play(stack, arguments)
    except (CoordinatorFailed, ProcessFailed, WrongModel) as error:
        report.error(str(error))
        return 1
    except KeyboardInterrupt:
        report.say("\ninterrupted")
        return 130
    return 0


def play(stack: ExitStack, arguments: argparse.Namespace) -> None:
    data = hospitals_data.load()
    report.say(
        report.bold("Ten hospitals, and three groups of three members who trust no other group")
    )
    report.say()
    federation = start(stack, arguments.coordinator, arguments.colluders, data.hospitals)
    train_together(federation, data.test, arguments.rounds)
    number = the_round(federation)
    model = federation.meeting.counted[number][0]
    address, pinned = federation.coordinator.url, federation.committee.roster_hash
    audit = [str(arguments.coordinator), "audit", address, "--roster", pinned]
    report.say()
    report.say(report.bold("pet-coordinator audit, which anybody may run"))
    for line in textwrap.wrap(run([*audit, "--round", str(number)]), 110):
        report.say(f"  {line}")
    left = attack(federation, arguments.colluders, number, model)
    judge(model, left)
    pictures = {name: decode(numbers) for name, numbers in left.items()}
    sealed_chart.draw(arguments.plot, federation.rows, model, pictures)
    report.say(f"The picture is in {arguments.plot}")


def start(stack: ExitStack, binary: Path, colluders: Path, patients: list[Patients]) -> Federation:
    """Makes all keys and the roster, and starts everybody."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pet-demo-"))
    committee = Committee(binary, Path(directory), HOSPITALS)
    report.say(f"  roster        {committee.roster_hash[:16]}..., signed by all nine members")
    settings = {
        "pet.v2.roster_file": str(committee.roster),
        "admin.socket": str(committee.socket),
        "admin.token_file": str(committee.token),
    }
    coordinator = Coordinator(binary, network.LENGTH, SETTINGS, settings)
    stack.callback(coordinator.stop)
    report.say(f"  coordinator   {coordinator.url}")
    members = {}
    for member in committee.members:
        if (member.group, member.index) != LYING:
            process = committee.start(member, coordinator.url)
            stack.callback(process.stop)
            members[member.group, member.index] = process
    # For the control a member of the first group is in league, too.
    allies = [
        member
        for member in committee.members
        if member.group in LEAGUE or (member.group, member.index) == (0, 0)
    ]
    by_place = {(member.group, member.index): member for member in committee.members}
    liar = Liar(colluders, committee, by_place[LYING], allies, coordinator.url)
    stack.callback(liar.process.stop)
    # All are told to end before one is waited for.
    for process in [*members.values(), liar.process]:
        stack.callback(process.interrupt)
    report.say(f"  members       {len(members)} pet-coordinator member, and one that will lie")
    committee.skip_round(coordinator.check)
    meeting = Meeting(HOSPITALS)
    # Only when all hospitals are stopped: so nobody begins to train in vain.
    stack.callback(meeting.end)
    participants: list[InternalParticipant] = []
    for number, updater in enumerate(committee.updaters):
        participant = spawn_participant(
            coordinator.url,
            SealedHospital,
            args=(number, patients[number], meeting),
            roster=committee.roster,
            identity=updater.identity,
            credential=updater.credential,
            state_file=updater.state,
        )
        stack.callback(participant.stop)
        participants.append(participant)
    report.say(f"  hospitals     {len(participants)}, with credentials of the admission authority")
    report.say(
        "  the check     a global model must be the mean of the models that count, in steps of"
    )
    report.say("                2^-14, to the last bit")
    report.say()
    return Federation(coordinator, committee, members, liar, participants, meeting)


def train_together(federation: Federation, test: Patients, rounds: int) -> None:
    """Trains until enough rounds are completed, and all lies are told."""
    meeting = federation.meeting
    report.say(report.bold("round   counted   signed by   accuracy   off the mean"))
    federation.meet()
    lies = list(LIES)
    told: Lie | None = None
    last = 0
    while True:
        federation.wait_for_update(ROUND_SECONDS)
        tell_failures(federation)
        number = len(federation.rows) + 1
        if number > rounds + MOST_FAILURES or (number > rounds and not lies):
            break
        if number >= KILL_IN and KILLED not in federation.dead:
            kill(federation)
        if number > KILL_IN and lies and told is None:
            told = lies[0]
            federation.liar.tell(told.command)
            report.say(report.dim(f"        {name(LYING)} {told.announced}"))
        meeting.go_on()
        begins = federation.meet()
        completed = max(meeting.counted, default=0)
        if completed == last:
            # The round that they have trained for has failed.
            continue
        last = completed
        row = judge_round(federation, test, last, begins, told)
        federation.rows.append(row)
        if row.lie is not None:
            lies.pop(0)
            told = None
            federation.liar.tell("honest")
    if lies:
        raise WrongModel(f"nobody has noticed that a member {lies[0].announced}")


def tell_failures(federation: Federation) -> None:
    """Reports the rounds that have failed since it was last asked."""
    failures = federation.coordinator.failures()
    for round in failures[federation.failures :]:
        why = f"failed in {(round.failure or '').split(';')[0]}; the next one begins"
        if not federation.rows:
            why = (
                "was opened before the members were started, who sit it out: the operator skips it"
            )
        report.say(report.dim(f"{round.number:5}   {why}"))
    federation.failures = len(failures)


def kill(federation: Federation) -> None:
    federation.members[KILLED].kill()
    federation.dead.add(KILLED)
    report.say(report.dim(f"        {name(KILLED)} is killed while the hospitals train"))


def name(place: tuple[int, int]) -> str:
    group, index = place
    return Member(group, index, Path()).name


def judge_round(
    federation: Federation,
    test: Patients,
    number: int,
    begins: list[Weights | None],
    told: Lie | None,
) -> Row:
    """Checks and reports a completed round."""
    meeting, coordinator = federation.meeting, federation.coordinator
    counted, left_out = meeting.counted[number], meeting.left_out.get(number, set())
    weights = the_model(begins, number)
    difference = compare(weights, list(counted.values()), number)
    round = coordinator.completed(number, ROUND_SECONDS)
    signers = signers_of(coordinator, number)
    was_found, remark = False, ""
    if told is not None:
        was_found = is_found(federation, round, told)
        remark = told.outcome if was_found else "it came too late to lie; once more"
        remark = remark.format(", ".join(str(hospital + 1) for hospital in sorted(left_out)))
    accuracy = report.percent(network.accuracy(weights, test))
    report.say(
        f"{number:5}   {len(counted):>2} of 10     {len(signers)} of 9    {accuracy}"
        f"   {difference:12.1e}   {remark}".rstrip()
    )
    if len(counted) + len(left_out) != HOSPITALS:
        raise WrongModel(f"round {number}: not all hospitals know whether they were counted")
    lie = told.name if told is not None and was_found else None
    return Row(number, signers, frozenset(federation.dead), LYING, lie, len(counted))


def is_found(federation: Federation, round: Round, told: Lie) -> bool:
    if told.found_as in (note for note, _ in round.notes):
        return True
    lie, answer = federation.liar.lied.get(round.number, ("", ""))
    return told.command.split()[1] == lie and answer == told.found_as


def signers_of(coordinator: Coordinator, number: int) -> frozenset[tuple[int, int]]:
    """The members whose votes are in a round's certificate."""
    status = json.loads(coordinator.get("/status"))
    for round in status["rounds"]:
        if round["id"] == number and round["certificate"] is not None:
            places = [signer.split()[0].split(".") for signer in round["certificate"]["signers"]]
            return frozenset((int(group), int(index)) for group, index in places)
    raise CoordinatorFailed(f"the coordinator's status has no certificate of round {number}")


def the_round(federation: Federation) -> int:
    """The latest round of which the colluders have all seeds, and in which the first hospital counts."""
    everything = (len(LEAGUE) * MEMBERS + 1) * HOSPITALS
    for row in reversed(federation.rows):
        has_victim = 0 in federation.meeting.counted[row.number]
        if has_victim and len(federation.seeds_of(row.number)) == everything:
            return row.number
    raise ProcessFailed(
        f"the colluders have not opened all boxes of any round:\n{federation.liar.process.log()}"
    )


def attack(
    federation: Federation, colluders: Path, number: int, model: Weights
) -> dict[str, Numbers]:
    """What each coalition is left with of the first hospital's model in this round."""
    boxes = [group for group in federation.seeds_of(number) if group in LEAGUE]
    names = " and ".join(GROUPS[group] for group in LEAGUE)
    report.say()
    report.say(report.bold("The coordinator and others try to unmask the first hospital"))
    report.say(
        f"  They have its masked model of round {number}, and the seeds in all {len(boxes)} boxes for"
    )
    report.say(f"  the six members of {names}, whose states they have read.")
    unmask = [str(colluders), "unmask", federation.coordinator.url, str(number)]
    unmask += [federation.committee.updaters[0].public_key, str(federation.liar.seeds)]
    weights = [repr(float(weight)) for weight in model]
    return {
        "two_groups": left_of(run([*unmask, *map(str, LEAGUE)])),
        "all_groups": left_of(run([*unmask, *(str(group) for group in range(len(GROUPS)))])),
        "version_1": left_of(run([str(colluders), "version-1", *weights])),
    }


if __name__ == "__main__":
    sys.exit(main())
