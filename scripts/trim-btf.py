#!/usr/bin/env python3
"""Cut a kernel's BTF and its modules' split BTFs down to a few types, as fixtures for the tests.

    scripts/trim-btf.py VMLINUX.btf OUTDIR BASE_ROOTS MODULE.btf=ROOTS...

ROOTS is a comma-separated list of type names. What a root holds by value is kept whole, offsets and all. A pointer to a
struct or union that is not itself kept becomes a pointer to a forward declaration of that name, a pointer to a function a
pointer to void. A module's file stays real split BTF: its ids and strings go on where the trimmed base's end.

It shares nothing with xhint's own code, so that a fault of a reader and one of the fixture can't hide each other.
Little endian only.
"""
import os
import struct
import sys

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, PROTO, VAR, DATASEC, FLOAT, \
    DECL_TAG, TYPE_TAG, ENUM64 = range(1, 20)
MODIFIERS = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)


class Type:
    def __init__(self, name, kind, flag, size, rest):
        # `rest` is the list of tuples after the header; `size` is size or type id.
        self.name, self.kind, self.flag, self.size, self.rest = name, kind, flag, size, rest


def read(path, base):
    data = open(path, "rb").read()
    magic, version, _, hdr, toff, tlen, soff, slen = struct.unpack_from("<HBBIIIII", data)
    assert magic == 0xEB9F and version == 1, path
    strings = (base[1] if base else b"") + data[hdr + soff:hdr + soff + slen]

    def text(off):
        return strings[off:strings.index(b"\0", off)].decode()

    types = list(base[0]) if base else [None]
    at, end = hdr + toff, hdr + toff + tlen
    while at < end:
        name, info, size = struct.unpack_from("<III", data, at)
        at += 12
        kind, vlen, flag = info >> 24 & 31, info & 0xFFFF, info >> 31
        each = {STRUCT: "III", UNION: "III", ENUM: "Ii", PROTO: "II", DATASEC: "III", ENUM64: "III"}.get(kind)
        once = {INT: "I", ARRAY: "III", VAR: "I", DECL_TAG: "i"}.get(kind)
        form, count = (each, vlen) if each else (once, 1 if once else 0)
        rest = []
        for _ in range(count):
            row = list(struct.unpack_from("<" + form, data, at))
            at += 4 * len(row)
            if each and kind != DATASEC:
                row[0] = text(row[0])
            rest.append(row)
        types.append(Type(text(name), kind, flag, size, rest))
    return types, strings


def trim(types, first, roots, kept):
    """Ids reachable by value from `roots` (names), added to the set `kept`."""
    todo = [i for i in range(first, len(types)) if types[i].name in roots and types[i].kind != FWD]
    found = {types[i].name for i in todo}
    assert found == set(roots), f"not found: {set(roots) - found}"
    while todo:
        i = todo.pop()
        if i == 0 or i in kept:
            continue
        kept.add(i)
        t = types[i]
        if t.kind in MODIFIERS or t.kind in (FUNC, VAR):
            todo.append(t.size)
        elif t.kind == ARRAY:
            todo += t.rest[0][:2]
        elif t.kind in (STRUCT, UNION):
            todo += [m[1] for m in t.rest]
        elif t.kind == PROTO:
            todo += [t.size] + [p[1] for p in t.rest]
        elif t.kind == PTR:
            # Through modifiers to what is pointed at: scalars and such are kept, the rest is settled when writing.
            j, path = t.size, []
            while j and types[j].kind in MODIFIERS:
                path.append(j)
                j = types[j].size
            if j == 0 or types[j].kind in (INT, ENUM, ENUM64, FLOAT, FWD):
                todo += path + [j]


class Out:
    """Types of one file in the making, after those of its base."""

    def __init__(self, base=None):
        self.base = base
        self.strings = b"\0" if not base else b""
        self.start_str = base.start_str + len(base.strings) if base else 0
        self.start = base.start + len(base.types) if base else 1
        self.types, self.ids, self.offsets, self.fwds = [], {}, {}, {}

    def text(self, text):
        if not text:
            return 0
        out = self
        while out:
            if text in out.offsets:
                return out.offsets[text]
            out = out.base
        self.offsets[text] = self.start_str + len(self.strings)
        self.strings += text.encode() + b"\0"
        return self.offsets[text]

    def id(self, i):
        out = self
        while out:
            if i in out.ids:
                return out.ids[i]
            out = out.base
        return None

    def fwd(self, name, union):
        out = self
        while out:
            if (name, union) in out.fwds:
                return out.fwds[name, union]
            out = out.base
        self.types.append(struct.pack("<III", self.text(name), (union << 31) | FWD << 24, 0))
        self.fwds[name, union] = self.start + len(self.types) - 1
        return self.fwds[name, union]

    def pointee(self, types, i):
        """The new id of what pointer i points at."""
        j = types[i].size
        if j == 0 or self.id(j):
            return self.id(j) or 0
        while j and types[j].kind in MODIFIERS:
            j = types[j].size
        if j == 0 or types[j].kind not in (STRUCT, UNION) or not types[j].name:
            return self.id(j) or 0
        return self.id(j) or self.fwd(types[j].name, types[j].kind == UNION)

    def add(self, types, kept):
        mine = sorted(i for i in kept if self.id(i) is None)
        for n, i in enumerate(mine):
            self.ids[i] = self.start + len(self.types) + n
        at = len(self.types)
        self.types += [b""] * len(mine)
        for n, i in enumerate(mine):
            t = types[i]
            size, rest = t.size, [list(row) for row in t.rest]
            if t.kind == PTR:
                size = self.pointee(types, i)
            elif t.kind in MODIFIERS or t.kind in (FUNC, VAR, PROTO):
                size = self.id(size) or 0
            if t.kind == ARRAY:
                rest[0][:2] = self.id(rest[0][0]) or 0, self.id(rest[0][1]) or 0
            if t.kind in (STRUCT, UNION, PROTO):
                for row in rest:
                    row[1] = self.id(row[1]) or 0
            if t.kind in (STRUCT, UNION, PROTO, ENUM, ENUM64):
                for row in rest:
                    row[0] = self.text(row[0])
            # FUNC keeps its linkage where others keep a count.
            vlen = 0 if t.kind in (INT, ARRAY) else 1 if t.kind == FUNC else len(rest)
            out = struct.pack("<III", self.text(t.name), t.flag << 31 | t.kind << 24 | vlen, size)
            for row in rest:
                out += b"".join(struct.pack("<i" if v < 0 else "<I", v) for v in row)
            self.types[at + n] = out

    def write(self, path):
        types = b"".join(self.types)
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.strings))
        with open(path, "wb") as f:
            f.write(head + types + self.strings)
        print(f"{path}: {len(self.types)} types, {len(head + types + self.strings)} bytes")


def main():
    vmlinux, outdir, roots, *modules = sys.argv[1:]
    base = read(vmlinux, None)
    kept, parts = set(), []
    trim(base[0], 1, set(roots.split(",")), kept)
    for module in modules:
        path, roots = module.split("=")
        split = read(path, base)
        mine = set()
        trim(split[0], len(base[0]), set(roots.split(",")), mine)
        parts.append((path, split, mine))
        kept |= {i for i in mine if i < len(base[0])}
    out = Out()
    out.add(base[0], kept)
    os.makedirs(outdir, exist_ok=True)
    out.write(os.path.join(outdir, "vmlinux.btf"))
    for path, split, mine in parts:
        part = Out(out)
        part.add(split[0], {i for i in mine if i >= len(base[0])})
        part.write(os.path.join(outdir, os.path.basename(path)))


main()
