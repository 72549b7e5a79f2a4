"""Files that are wrong, or odd, in what their headers say: entries, dtypes, shapes, offsets, keys twice, metadata."""
from pieces import Times, counting, entry, file, pair, tensor

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64,
        "I64": 64, "U64": 64}
UNKNOWN = ["", "f32", "F32 ", " F32", "Float32", "float32", "torch.float32", "BFLOAT16", "bf16", "INT32", "BOOLEAN", "U1", "U4", "I4", "I128",
           "F8", "F8_E4M3FN", "F8_E4M3fnuz", "F8_E3M4", "F4_E2M1", "F6", "E8M0", "C32", "C128", "F80", "F128", "F32\\u0000", "Q4_0"]
NUMBER = "must be an integer from 0 to 18446744073709551615"
EMPTY = entry('"U8"', "[0]", "[0,0]")


def quoted(text):
    return f'"{text}"'


def entries():
    for field in ("dtype", "shape", "data_offsets"):
        fields = {"dtype": '"F32"', "shape": "[]", "data_offsets": "[0,4]"}
        other = {**fields}
        del other[field]
        text = ",".join(f'"{k}":{v}' for k, v in other.items())
        yield f"no {field}", file(f'{{"a":{{{text}}}}}', "1234"), f"field missing: {field}"
        yield f"{field} misspelt", file(f'{{"a":{{{text},"{field.upper()}":{fields[field]}}}}}', "1234"), f"field missing: {field}"
        for what, value in (("null", "null"), ("a number", "4"), ("a map", "{}"), ("a boolean", "true"), ("an empty string", '""')):
            yield f"{field} is {what}", file(f'{{"a":{{{text},"{field}":{value}}}}}', "1234"), f"a.{field}="
    yield "no field", file('{"a":{}}'), "field missing"
    yield "fields in another order", file('{"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}', "1234"), None
    yield "escaped field names", file(r'{"a":{"\u0064type":"F32","sh\u0061pe":[1],"data\u005foffsets":[0,4]}}', "1234"), None
    yield "more fields", tensor(more=',"x":1,"y":{"dtype":"?"},"":[]'), None
    yield "offsets as another format spells them", file('{"a":{"dtype":"F32","shape":[],"offsets":[0,4]}}', "1234"), "field missing: data_offsets"
    for what, value in (("null", "null"), ("a number", "3"), ("a string", '"F32"'), ("a boolean", "false")):
        yield f"entry is {what}", file(f'{{"a":{value}}}'), "a tensor must be a map"
    yield "a right one, then null", file(f'{{"a":{EMPTY},"b":null}}'), "a tensor must be a map"
    for what, value in (("three fields", '["F32",[],[0,4]]'), ("two fields", '["F32",[]]'), ("four fields", '["F32",[],[0,4],0]'),
                        ("other order", '[[],"F32",[0,4]]'), ("nothing", "[]")):
        yield f"entry is a list of {what}", file(f'{{"a":{value}}}', "1234"), "a tensor must be a map"
    for what, value in (("and null", '{"F32":null}'), ("and a number", '{"F32":1}'), ("and a map", '{"F32":{}}'), ("twice", '{"F32":null,"F32":null}'),
                        ("that is none", '{"F33":null}')):
        yield f"dtype is a map of one {what}", tensor(dtype=value), "a.dtype=a map"
    yield "dtype is a list", tensor(dtype='["F32"]'), "a.dtype=a list"


def dtypes():
    for name, bits in BITS.items():
        yield name, tensor(quoted(name), "[4,3]", f"[0,{12 * bits // 8}]", 12 * bits // 8), None
        yield f"{name}, one byte short", tensor(quoted(name), "[4,3]", f"[0,{12 * bits // 8 - 1}]", 12 * bits // 8 - 1), "must hold"
    for name in UNKNOWN:
        yield f"unknown: {name}", tensor(quoted(name), "[]", "[0,4]", 4), "must be a dtype of the format"
    yield "escaped", tensor('"\\u00463\\u0032"'), None
    yield "F4 of 3", tensor('"F4"', "[3]", "[0,2]", 2), "must fill whole bytes"
    yield "F4 of 3, cut", tensor('"F4"', "[3]", "[0,1]", 1), "must fill whole bytes"
    yield "F4 of 3x2", tensor('"F4"', "[3,2]", "[0,3]", 3), None
    yield "F4 of 2x3", tensor('"F4"', "[2,3]", "[0,3]", 3), None
    yield "F4, a byte an element", tensor('"F4"', "[4]", "[0,4]", 4), "must hold 2 bytes"
    yield "F4 scalar", tensor('"F4"', "[]", "[0,1]", 1), "must fill whole bytes"
    yield "F4 of none", tensor('"F4"', "[0,3]", "[0,0]", 0), None
    for name in ("F6_E2M3", "F6_E3M2"):
        yield f"{name} of 4", tensor(quoted(name), "[4]", "[0,3]", 3), None
        yield f"{name} of 2", tensor(quoted(name), "[2]", "[0,2]", 2), "must fill whole bytes"
        yield f"{name} of 4, a byte an element", tensor(quoted(name), "[4]", "[0,4]", 4), "must hold 3 bytes"
    odd = entry('"U8"', "[1]", "[0,1]"), entry('"F64"', "[1]", "[1,9]"), entry('"F32"', "[1]", "[9,13]")
    yield "none aligned", file(f'{{"a":{odd[0]},"b":{odd[1]},"c":{odd[2]}}}', counting(13)), None
    yield "bool that is neither", tensor('"BOOL"', "[2]", "[0,2]", 2), None


def shapes():
    yield "scalar", tensor(), None
    yield "scalar of another size", tensor(offsets="[0,8]", data=8), "must hold 4 bytes"
    yield "ones", tensor(shape="[1,1,1,1,1,1,1,1,1,1]"), None
    yield "zero first", tensor(shape="[0,5]", offsets="[0,0]", data=0), None
    yield "zero last", tensor(shape="[5,0]", offsets="[0,0]", data=0), None
    yield "zero, with bytes", tensor(shape="[0]"), "must hold 0 bytes"
    yield "none where bytes are due", tensor(shape="[1]", offsets="[0,0]", data=0), "must hold 4 bytes"
    yield "100,000 dims", file(['{"a":{"dtype":"U8","shape":[1', Times(",1", 99_999), '],"data_offsets":[0,1]}}'], "x"), None
    for text in ("1.0", "1e0", "1E0", "-0", "-1", '"1"', "true", "null", "[1]", "{}", "18446744073709551616", "1.5", "-0.0", "1e-400", "4294967296e0",
                 "-9223372036854775808", "100000000000000000000000000000"):
        yield f"dim {text}", tensor(shape=f"[{text}]"), NUMBER
        if len(text) < 5:
            yield f"last dim {text}", tensor(shape=f"[1,{text}]"), NUMBER
    for text in ("01", "+1", "1.", "0x1", "1 1", "1,", ",1", "NaN"):
        yield f"dim {text}", tensor(shape=f"[{text}]"), "must be JSON"
    big = {"2^63, zero before": ("F32", f"[0,{2**63},2]", None), "2^64 - 1, zero before": ("F32", f"[0,{2**64 - 1}]", None),
           "2^64 - 1, zero after": ("F32", f"[{2**64 - 1},0]", None), "2^63, 2, zero after": ("F32", f"[{2**63},2,0]", "overflow"),
           "U8 of 2^61": ("U8", f"[{2**61}]", "overflow"), "U8 of 2^61 - 1": ("U8", f"[{2**61 - 1}]", "must hold"),
           "F4 of 2^62": ("F4", f"[{2**62}]", "overflow"), "U8 of 2^32 x 2^32": ("U8", f"[{2**32},{2**32}]", "overflow"),
           "U8 of 2^31 x 2^31": ("U8", f"[{2**31},{2**31}]", "overflow"), "U8 of 2^16 four times": ("U8", f"[{','.join(['65536'] * 4)}]", "overflow"),
           "U8 of 1 byte modulo 2^64": ("U8", f"[{2**64 - 1}]", "overflow"), "minus one as unsigned": ("F32", "[18446744073709551615]", "overflow")}
    for name, (dtype, shape, says) in big.items():
        yield f"{name}, no bytes", tensor(quoted(dtype), shape, "[0,0]", 0), says
    yield "wraps to 8 bytes by 2^63 + 1", tensor(shape=f"[{2**63 + 1},2]", offsets="[0,8]", data=8), "overflow"
    yield "wraps to 8 bytes by 2^62 + 2", tensor(shape=f"[{2**62 + 2}]", offsets="[0,8]", data=8), "overflow"
    yield "wraps to 1 byte in bits", tensor('"U8"', f"[{2**61 + 1}]", "[0,1]", 1), "overflow"
    yield "wraps to 4 bytes in 32 bits", tensor(shape=f"[{2**30 + 1}]"), "must hold 4294967300 bytes"
    yield "wraps, two of the same", tensor('"F64"', "[4294967296,4294967296]", "[0,0]", 0), "overflow"
    yield "a tensor larger than its file", tensor(shape="[1000000000]", offsets="[0,4000000000]", data=4), "must end within the file"


def offsets():
    yield "other order in the file", pair("[4,8]", "[0,4]", 8), None
    yield "hole at the start", pair("[1,5]", "[5,9]", 9), "must begin at 0"
    yield "hole between", pair("[0,4]", "[5,9]", 9), "no hole"
    yield "hole of 4 GiB", pair("[0,4]", "[4294967300,4294967304]", 8), "no hole"
    yield "hole at the end", pair("[0,4]", "[4,8]", 9), "must end where the last tensor ends"
    yield "overlap of one byte", pair("[0,4]", "[3,7]", 8), "no overlap"
    yield "the same bytes", pair("[0,4]", "[0,4]", 4), "no overlap"
    yield "one within the other", pair("[0,4]", "[1,2]", 4, "[1]"), "no overlap"
    yield "same begin, other end", pair("[0,4]", "[0,2]", 4, "[2]"), "must"
    yield "end before begin", pair("[0,4]", "[4,0]", 8), "must not end before it begins"
    yield "end before begin, alone", tensor(offsets="[4,0]"), "must"
    yield "length for end", pair("[0,4]", "[4,4]", 8), "must hold 4 bytes"
    yield "past the end", pair("[0,4]", "[4,8]", 7), "must end within the file"
    yield "begin past the end", pair("[0,4]", "[8,12]", 8), "no hole"
    yield "from the start of the file", tensor(offsets="[72,76]"), "must begin at 0"
    yield "end wraps below begin", tensor(offsets=f"[{2**64 - 4},0]"), "must"
    yield "end at 2^64 - 1", tensor('"U8"', "[4]", f"[0,{2**64 - 1}]", 4), "must hold 4 bytes"
    yield "both at 2^64 - 1", tensor('"U8"', "[0]", f"[{2**64 - 1},{2**64 - 1}]", 4), "must begin at 0"
    yield "one byte too few", tensor(offsets="[0,3]", data=3), "must hold 4 bytes"
    yield "one byte too many", tensor(offsets="[0,5]", data=5), "must hold 4 bytes"
    for name, place, data, says in (("at the start", "[0,0]", 4, None), ("at the end", "[4,4]", 4, None), ("inside", "[2,2]", 4, "must begin at 4"),
                                    ("past the end", "[5,5]", 4, "no hole"), ("far past the end", "[100,100]", 4, "no hole")):
        yield f"empty tensor {name}", pair("[0,4]", place, data, "[0]"), says
    several = ",".join(f'"e{i}":{entry(quoted("F64"), "[0]", f"[{4 * (i % 3)},{4 * (i % 3)}]")}' for i in range(6))
    two = f'"a":{entry(shape="[1]")},"b":{entry(shape="[1]", offsets="[4,8]")}'
    yield "empty tensors wherever they may be", file(f"{{{several},{two}}}", counting(8)), None
    for text in ("[]", "[0]", "[0,4,4]", "[0,4,null]", "[0,4,[]]"):
        yield f"list {text}", tensor(offsets=text), "must be two numbers" if "[]]" not in text and "null" not in text else "must be"
    for text in ("4.0", "4e0", "-4", "-0", '"4"', "true", "null", "[4]", "18446744073709551616"):
        yield f"end {text}", tensor(offsets=f"[0,{text}]"), NUMBER
        yield f"begin {text}", tensor(offsets=f"[{text},4]"), NUMBER
    yield "04", tensor(offsets="[0,04]"), "must be JSON"
    yield "a map", tensor(offsets='{"0":0,"1":4}'), "must be a list"


def twice():
    a = '"a"'
    wrong = entry('"F33"', "[0]", "[0,0]")
    key = "a key must not come twice"
    yield "tensor, the same", file(f"{{{a}:{EMPTY},{a}:{EMPTY}}}"), key
    yield "tensor, the same bytes", file(f'{{{a}:{entry()},{a}:{entry()}}}', "1234"), key
    yield "tensor, another dtype", file(f'{{{a}:{entry()},{a}:{entry(quoted("I32"))}}}', "1234"), key
    yield "tensor, escaped once", file(f'{{{a}:{EMPTY},"\\u0061":{EMPTY}}}'), key
    yield "tensor, other offsets", file(f'{{{a}:{entry(offsets="[4,8]")},{a}:{entry()}}}', "1234"), key
    yield "tensor, each its own bytes", file(f'{{{a}:{entry()},{a}:{entry(offsets="[4,8]")}}}', counting(8)), key
    yield "tensor, the first wrong", file(f"{{{a}:{wrong},{a}:{EMPTY}}}"), "must be a dtype"
    yield "tensor, the second wrong", file(f"{{{a}:{EMPTY},{a}:{wrong}}}"), key
    yield "tensor, far apart", file(f'{{{a}:{EMPTY},"b":{EMPTY},"c":{EMPTY},{a}:{EMPTY}}}'), key
    yield "three times", file(f"{{{a}:{EMPTY},{a}:{EMPTY},{a}:{EMPTY}}}"), key
    yield "metadata", file('{"__metadata__":{},"__metadata__":{}}'), key
    yield "metadata, null once", file('{"__metadata__":null,"__metadata__":{}}'), key
    yield "metadata, escaped once", file(r'{"__metadata__":{},"\u005f_metadata__":{}}'), key
    yield "metadata key", file('{"__metadata__":{"k":"1","k":"2"}}'), key
    yield "metadata key, the same value", file('{"__metadata__":{"k":"1","k":"1"}}'), key
    yield "metadata key, escaped once", file(r'{"__metadata__":{"k":"1","\u006b":"2"}}'), key
    for field, value in (("dtype", '"F32"'), ("shape", "[]"), ("data_offsets", "[0,4]")):
        yield field, tensor(more=f',"{field}":{value}'), key
    yield "shape, escaped once", tensor(more=r',"\u0073hape":[]'), key
    yield "ignored field", tensor(more=',"z":1,"z":1'), key
    yield "key within an ignored field", tensor(more=',"z":{"q":1,"q":2}'), key
    yield "key deep within an ignored field", tensor(more=',"z":[{"x":[{"q":1,"q":2}]}]'), key
    yield "the same keys in two maps", tensor(more=',"z":{"q":1},"y":{"q":1}'), None
    yield "empty key", tensor(more=',"":1,"":2'), key
    yield "in other case", file(f'{{"A":{EMPTY},"a":{EMPTY}}}'), None


def metadata():
    for what, value in (("null", "null"), ("empty", "{}"), ("one", '{"format":"pt"}'), ("an empty key", '{"":"v"}'), ("an empty value", '{"k":""}'),
                        ("many", "{" + ",".join(f'"k{i}":"{i}"' for i in range(40)) + "}"), ("JSON in a string", r'{"k":"{\"a\":[1]}"}'),
                        ("NUL", r'{"k\u0000":"v\u0000"}'), ("its own name", '{"__metadata__":"x"}'), ("a tensor's fields", '{"dtype":"F32","shape":"[]"}')):
        yield f"is {what}", file(f'{{"__metadata__":{value}}}'), None
    for what, value in (("a list", "[]"), ("a string", '"pt"'), ("a number", "1"), ("a boolean", "true"), ("a list of pairs", '[["k","v"]]')):
        yield f"is {what}", file(f'{{"__metadata__":{value}}}'), "__metadata__="
    for what, value in (("number", "1"), ("boolean", "true"), ("null", "null"), ("list", "[]"), ("map", "{}"), ("float", "1.5")):
        yield f"has a {what}", file(f'{{"__metadata__":{{"k":{value}}}}}'), "metadata must be a string"
    yield "has a string, then a number", file('{"__metadata__":{"a":"1","b":2}}'), "metadata must be a string"
    yield "is a tensor", file(f'{{"__metadata__":{entry()}}}', "1234"), "__metadata__"
    yield "in the middle", file(f'{{"a":{EMPTY},"__metadata__":{{"k":"v"}},"b":{EMPTY}}}'), None
    yield "at the end", file(f'{{"a":{entry()},"__metadata__":{{"k":"v"}}}}', "1234"), None
    yield "escaped", file(r'{"\u005f_metadata__":{"k":"v"}}'), None
    yield "within a tensor", tensor(more=',"__metadata__":3'), None
    yield "of one megabyte", file(['{"__metadata__":{"k":"', Times("v", 1 << 20), '"}}']), None


GROUPS = {"entry": entries, "dtype": dtypes, "shape": shapes, "offsets": offsets, "twice": twice, "metadata": metadata}
