# What cantools decodes from a candump log (stdin), for cantools_test.go to compare. Argument: the .dbc file.
# Per frame: one byte with the number of values (255 = no message of the database), then for each value the number of the
# signal in the message (two bytes) and the value (float64), all little endian.
import struct
import sys

import cantools

db = cantools.database.load_file(sys.argv[1], sort_signals=None)
messages = {}
for m in db.messages:
    messages[m.frame_id, m.is_extended_frame] = (m, {s.name: i for i, s in enumerate(m.signals)})
shape = [struct.Struct("<B" + "Hd" * n) for n in range(255)]
out = sys.stdout.buffer
pieces = []
for line in sys.stdin:
    ident, _, data = line.rpartition(" ")[2].rstrip().partition("#")
    if data.startswith("#"):
        data = data[2:]
    found = messages.get((int(ident, 16), len(ident) == 8))
    if found is None:
        pieces.append(b"\xff")
        continue
    message, number = found
    values = message.decode(bytes.fromhex(data), decode_choices=False)
    flat = []
    for name, value in values.items():
        flat += (number[name], float(value))
    pieces.append(shape[len(values)].pack(len(values), *flat))
    if len(pieces) == 4096:
        out.write(b"".join(pieces))
        pieces = []
out.write(b"".join(pieces))
