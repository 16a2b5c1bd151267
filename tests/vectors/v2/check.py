"""Recomputes the vectors of version 2 from docs/protocol-v2.md, with other libraries and none of the project's code.

    pip install pynacl blake3
    python tests/vectors/v2/check.py

Hashes are hashlib's and PyPI's blake3, keys, signatures and boxes are PyNaCl's; masks, Merkle trees and forms in bytes are
written out here once more. It says how many values it has compared, and fails at the first that differs.
"""

from __future__ import annotations

import hashlib
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import blake3
import nacl.bindings as sodium

FOLDER = Path(__file__).parent
LEAF = 512 * 1024
compared = 0


def same(what: str, found: bytes | str, expected: str) -> None:
    global compared
    found = found.hex() if isinstance(found, bytes) else found
    assert found == expected, f"{what}: {found} is not {expected}"
    compared += 1


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def blake2b(data: bytes, length: int = 32) -> bytes:
    return hashlib.blake2b(data, digest_size=length).digest()


def h(name: str, *parts: bytes) -> bytes:
    """Section 2 of the page."""
    return blake2b(b"".join(u64(len(part)) + part for part in [b"pet v2 " + name.encode(), *parts]))


def leaves_of(data: bytes) -> bytes:
    pieces = [data[at : at + LEAF] for at in range(0, len(data), LEAF)]
    return b"".join(blake3.blake3(piece).digest() for piece in pieces)


def merkle(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, with another hash."""
    if not leaves:
        return blake2b(b"")
    if len(leaves) == 1:
        return blake2b(b"\0" + leaves[0])
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return blake2b(b"\1" + merkle(leaves[:split]) + merkle(leaves[split:]))


def path(leaves: list[bytes], index: int) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    if index < split:
        return [*path(leaves[:split], index), merkle(leaves[split:])]
    return [*path(leaves[split:], index - split), merkle(leaves[:split])]


def proof(leaves: list[bytes], index: int) -> bytes:
    hashes = path(leaves, index)
    return b"\2" + u64(index) + u64(len(leaves)) + u32(len(hashes)) + b"".join(hashes)


def signing_key(seed: str) -> tuple[bytes, bytes]:
    public, secret = sodium.crypto_sign_seed_keypair(bytes.fromhex(seed))
    return public, secret


def sign(secret: bytes, digest: bytes) -> bytes:
    return sodium.crypto_sign(digest, secret)[:64]


def box_key(seed: str) -> tuple[bytes, bytes]:
    public, secret = sodium.crypto_box_seed_keypair(bytes.fromhex(seed))
    return public, secret


def seal(content: bytes, recipient: bytes, ephemeral: tuple[bytes, bytes]) -> bytes:
    """crypto_box_seal, with an ephemeral pair that is given."""
    public, secret = ephemeral
    return public + sodium.crypto_box(content, blake2b(public + recipient, 24), recipient, secret)


def chacha20(key: bytes, length: int) -> bytes:
    """The key stream of ChaCha20 with a 64-bit counter from 0 and a nonce of 0."""

    def rotate(value: int, by: int) -> int:
        return (value << by | value >> (32 - by)) & 0xFFFFFFFF

    def quarter(x: list[int], a: int, b: int, c: int, d: int) -> None:
        for one, other, third, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[one] = (x[one] + x[other]) & 0xFFFFFFFF
            x[third] = rotate(x[third] ^ x[one], by)

    out, counter = b"", 0
    constants = struct.unpack("<4I", b"expand 32-byte k")
    while len(out) < length:
        state = [*constants, *struct.unpack("<8I", key), counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        x = list(state)
        for _ in range(10):
            for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
                quarter(x, *column)
            for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
                quarter(x, *diagonal)
        out += struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, state, strict=True)))
        counter += 1
    return out[:length]


class Word32:
    """Word32/F32/B0/M3 with a Word64 unit: docs/word-groups.md."""

    VECT, UNIT = bytes([16, 0, 0, 3]), bytes([17, 0, 0, 3])
    VECT_STEPS, UNIT_STEPS = 2**21, 2**53

    @staticmethod
    def mask(seed: bytes, count: int) -> tuple[int, list[int]]:
        """The unit is drawn first, then the weights, all from one stream."""
        stream = chacha20(seed, 8 + 4 * count)
        return int.from_bytes(stream[:8], "little"), list(struct.unpack(f"<{count}I", stream[8:]))

    @classmethod
    def encode(cls, weights: list[float]) -> tuple[int, list[int]]:
        def steps(value: Fraction, per_one: int) -> int:
            clamped = max(Fraction(-1), min(Fraction(1), value))
            return (clamped + 1) * per_one // 1

        vector = [steps(Fraction(weight), cls.VECT_STEPS) for weight in weights]
        return steps(Fraction(1), cls.UNIT_STEPS), vector

    @classmethod
    def to_bytes(cls, unit: int, vector: list[int]) -> bytes:
        numbers = b"".join(u32(number % 2**32) for number in vector)
        return cls.VECT + struct.pack(">I", len(vector)) + numbers + cls.UNIT + u64(unit % 2**64)


def floats(bits: list[str]) -> list[float]:
    return [struct.unpack(">f", bytes.fromhex(each))[0] for each in bits]


def check_hashes() -> None:
    for case in load("hash.json")["cases"]:
        name = case["label"].removeprefix("pet v2 ")
        parts = [bytes.fromhex(part) for part in case["parts"]]
        same(case["label"], h(name, *parts), case["hash"])


def check_trees() -> None:
    file = load("tree.json")
    for case in file["objects"]:
        length = case["length"]
        data = bytes((at * 31 + at // 251) & 0xFF for at in range(length))
        leaves = leaves_of(data)
        same("leaves", leaves, "".join(case["leaves"]))
        same("masked model", h("masked model", u64(length), leaves), case["masked_model"])
        same("group mask", h("group mask", u64(length), leaves), case["group_mask"])
    for case in file["models"]:
        kind, length = case["type"], case["length"]
        code, letter = {"F32": (0, "f"), "F64": (1, "d"), "I32": (2, "i"), "I64": (3, "q")}[kind]
        values = [at / 8 - 3.0 if letter in "fd" else at - 3 for at in range(length)]
        leaves = leaves_of(struct.pack(f"<{length}{letter}", *values))
        same(f"model {kind}", h("model", bytes([code]), u64(length), leaves), case["hash"])


def check_merkle() -> None:
    for case in load("merkle.json")["trees"]:
        leaves = [u64(at) for at in range(case["count"])]
        same("root", merkle(leaves), case["root"])
        for each in case["proofs"]:
            same("proof", proof(leaves, each["index"]), each["bytes"])


def check_round() -> None:
    file = load("round.json")
    members = file["members"]
    place = {(member["group"], member["index"]): member for member in members}
    roster_keys = {at: signing_key(member["seed"]) for at, member in place.items()}
    encrypt_keys = {at: box_key(member["encrypt_seed"]) for at, member in place.items()}
    vote_keys = {at: signing_key(member["vote_seed"]) for at, member in place.items()}
    authority, authority_secret = signing_key(file["authority_seed"])
    coordinator, _ = box_key(file["coordinator_seed"])

    roster = b"\2" + u32(3)
    for group, name in enumerate(["hospitals", "universities", "auditors é"]):
        roster += u32(len(name.encode())) + name.encode() + u32(3)
        roster += b"".join(roster_keys[group, index][0] for index in range(3))
    roster += b"\0" + authority
    same("roster", roster, file["roster"])
    same("roster's hash", h("roster", roster), file["roster_hash"])

    # Round parameters of version 1 in bincode: keys behind their lengths, configs as four variants.
    group_variant = {"Word32": 3, "Word64": 4}
    configs = b"".join(
        u32(group_variant[group]) + u32(0) + u32(0) + u32(0) for group in ("Word32", "Word64")
    )
    parameters = u64(32) + coordinator + struct.pack("<dd", 0, 0) + u64(32) + bytes([3] * 32)
    parameters += configs + u64(6)
    start = h("model", b"\0", u64(6), leaves_of(struct.pack("<6f", *[0.5] * 6)))
    terms = b"\2" + h("roster", roster) + u64(7) + parameters + u64(1_800_000_000)
    terms += b"\1" + start + u64(3) + b"\0"
    same("terms", terms, file["terms"])
    ctx = h("context", terms)
    same("context", ctx, file["context"])

    announced = [at for at in sorted(place) if place[at]["announcement"] is not None]
    announcements = []
    for at in announced:
        e, v = encrypt_keys[at][0], vote_keys[at][0]
        digest = h("announcement", ctx, bytes([at[0]]), bytes([at[1]]), e, v)
        announcement = b"\2" + bytes(at) + e + v + sign(roster_keys[at][1], digest)
        same("announcement", announcement, place[at]["announcement"])
        announcements.append(announcement)
    listed = b"\2" + u32(len(announcements)) + b"".join(announcements)
    same("announcements", listed, file["announcements"])
    listed_hash = h("announcements", *announcements)
    same("hash of the announcements", listed_hash, file["announcements_hash"])

    counted, entries, statements, total = [], [], [], [0, [0] * 6]
    masks: list[tuple[int, list[int]]] = [(0, [0] * 6) for _ in range(3)]
    assert [update["key"] for update in file["updates"]] == sorted(
        update["key"] for update in file["updates"]
    )
    for update in file["updates"]:
        key, secret = signing_key(update["seed"])
        same("updater", key, update["key"])
        seeds = [bytes.fromhex(seed) for seed in update["group_seeds"]]
        commitments, streams = (
            [
                h(name, ctx, listed_hash, key, bytes([group]), seed)
                for group, seed in enumerate(seeds)
            ]
            for name in ("commit", "stream")
        )
        for stream, expected in zip(streams, update["stream_seeds"], strict=True):
            same("stream seed", stream, expected)
        unit, vector = Word32.encode(floats(update["weights"]))
        for group, stream in enumerate(streams):
            unit_mask, vector_mask = Word32.mask(stream, 6)
            unit += unit_mask
            vector = [a + b for a, b in zip(vector, vector_mask, strict=True)]
            if update["counted"]:
                old_unit, old_vector = masks[group]
                added = [a + b for a, b in zip(old_vector, vector_mask, strict=True)]
                masks[group] = old_unit + unit_mask, added
        masked = Word32.to_bytes(unit, vector)
        same("masked model", masked, update["masked"])
        leaves = leaves_of(masked)
        root = h("masked model", u64(len(masked)), leaves)
        same("hash of the masked model", root, update["model_root"])
        digest = h("statement", ctx, listed_hash, key, *commitments, root)
        same("statement", digest, update["statement_digest"])
        header = bytes.fromhex(update["header"])
        expires_at = header[34:42]
        digest_of_credential = h("credential", key, expires_at)
        credential = b"\1" + expires_at + sign(authority_secret, digest_of_credential)
        committed = bytes([3]) + b"".join(commitments)
        signature = sign(secret, digest)
        boxes = [
            seal(seeds[at[0]], encrypt_keys[at][0], box_key(seed))
            for at, seed in zip(announced, update["box_seeds"], strict=True)
        ]
        expected = b"\2" + key + credential + committed + u64(len(masked)) + u32(1) + leaves
        expected += signature + u32(len(boxes)) + b"".join(boxes)
        same("header", expected, update["header"])
        ephemeral, ephemeral_secret = box_key(update["header_seed"])
        shared = sodium.crypto_box_beforenm(coordinator, ephemeral_secret)
        same("upload key", h("upload", shared, ephemeral, coordinator), update["upload_key"])
        box = boxes[announced.index(tuple(file["entries_for"]))]
        entries.append(key + credential + committed + root + signature + box)
        if update["counted"]:
            counted.append(key + digest)
            statements.append(key + credential + committed + root + signature)
            total = [total[0] + unit, [a + b for a, b in zip(total[1], vector, strict=True)]]

    page = b"\2" + ctx + u64(5) + u64(0) + u32(5) + b"".join(entries)
    same("entries", page, file["entries"])
    page = b"\2" + ctx + u64(4) + u64(0) + u32(4) + b"".join(statements)
    same("statements", page, file["statements"])

    accuser, excluded = tuple(file["entries_for"]), bytes.fromhex(file["excluded"])
    accused = u32(1) + excluded + bytes([2])
    digest = h("report", ctx, listed_hash, bytes([accuser[0]]), bytes([accuser[1]]), accused)
    report = b"\2" + bytes(accuser) + accused + sign(roster_keys[accuser][1], digest)
    same("report", report, file["report"])

    decision = b"\2" + ctx + listed_hash + u64(4) + merkle(counted)
    same("decision", decision, file["decision"])
    d = h("decision", ctx, listed_hash, u64(4), merkle(counted))
    same("hash of the decision", d, file["decision_hash"])
    for index, expected_proof in enumerate(file["proofs"]):
        same("proof", proof(counted, index), expected_proof)
    same(
        "set",
        b"\2" + decision + u32(1) + excluded + u32(1) + u32(len(report)) + report,
        file["set"],
    )

    votes = []
    for at in announced:
        signature = sign(vote_keys[at][1], h("vote", d, bytes([at[0]]), bytes([at[1]])))
        votes.append(b"\2" + bytes(at) + signature)
    assert len(votes) == len(file["votes"])
    for vote, expected_vote in zip(votes, file["votes"], strict=True):
        same("vote", vote, expected_vote)

    roots, all_leaves = [], []
    for (unit, vector), expected_mask in zip(masks, file["masks"], strict=True):
        mask = Word32.to_bytes(unit, vector)
        same("mask", mask, expected_mask["mask"])
        all_leaves.append(leaves_of(mask))
        roots.append(h("group mask", u64(len(mask)), all_leaves[-1]))
        same("hash of the mask", roots[-1], expected_mask["root"])
    digests = []
    for at, expected_header in zip(announced, file["mask_headers"], strict=True):
        root = roots[at[0]]
        signature = sign(roster_keys[at][1], h("mask digest", ctx, d, bytes([at[0]]), root))
        header = b"\2" + bytes(at) + u64(len(mask)) + u32(1) + all_leaves[at[0]] + signature
        same("header of a mask", header, expected_header)
        digests.append(b"\2" + bytes(at) + root + signature)

    def listing(values: list[bytes]) -> bytes:
        content = b"\2" + u32(len(values)) + b"".join(values)
        return u32(len(content)) + content

    certificate = b"\2" + u32(len(terms)) + terms + u32(len(listed)) + listed + decision
    certificate += listing(votes) + listing(digests)
    same("certificate", certificate, file["certificate"])

    # Off with the masks, and with what made negative numbers positive; then the mean.
    unit = (total[0] - sum(unit for unit, _ in masks)) % 2**64
    scalar = Fraction(unit - 4 * Word32.UNIT_STEPS, Word32.UNIT_STEPS)
    mean = []
    for at, number in enumerate(total[1]):
        steps = (number - sum(vector[at] for _, vector in masks)) % 2**32
        value = Fraction(steps - 4 * Word32.VECT_STEPS, Word32.VECT_STEPS) / scalar
        mean.append(struct.pack(">f", float(value)).hex())
    assert len(mean) == len(file["model"])
    for found, expected_bits in zip(mean, file["model"], strict=True):
        same("weight of the global model", found, expected_bits)
    # And it is the mean of what went in.
    honest = [floats(update["weights"]) for update in file["updates"] if update["counted"]]
    for weight, *inputs in zip(floats(file["model"]), *honest, strict=True):
        assert abs(weight - sum(inputs) / 4) < 2**-20, (weight, inputs)


if __name__ == "__main__":
    check_hashes()
    check_trees()
    check_merkle()
    check_round()
    print(f"{compared} values are as they should be")
