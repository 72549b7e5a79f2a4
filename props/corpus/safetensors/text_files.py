"""Files that are wrong, or odd, as text: lengths, JSON, characters, numbers, nesting, cuts."""
from pieces import Hole, Times, counting, entry, file, le64, size_of, tensor, with_field

GOOD = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
EMPTY = entry('"U8"', "[0]", "[0,0]")


def lengths():
    yield "empty", [], "size=0"
    for count in (1, 4, 7):
        yield f"{count} bytes", [b"\2\0\0\0\0\0\0"[:count]], f"size={count}"
    yield "nothing but a length of 0", [le64(0)], "must be JSON"
    yield "0 before a header", [le64(0), "{}"], "must be JSON"
    yield "1 of 2", [le64(1), "{}"], "must be JSON"
    yield "2 of 2", file("{}"), None
    yield "3 of 2", [le64(3), "{}"], "must fit in the file"
    yield "nothing but a length", [le64(2)], "must fit in the file"
    yield "counts itself", file("{}", length=10), "must fit in the file"
    yield "one short", file(GOOD, b"1234", len(GOOD) - 1), "must be JSON"
    yield "one long", file(GOOD, b"1234", len(GOOD) + 1), "must be JSON"
    yield "all of the file", file(GOOD, b"1234", len(GOOD) + 4), "must be JSON"
    yield "one more than the file", file(GOOD, b"1234", len(GOOD) + 5), "must fit in the file"
    yield "big-endian", [len(GOOD).to_bytes(8, "big"), GOOD, b"1234"], "must be at most"
    yield "of 32 bits", [len(GOOD).to_bytes(4, "little"), GOOD, b"1234"], "must be at most"
    yield "2^32 more than it is", file(GOOD, b"1234", 2**32 + len(GOOD)), "must be at most"
    yield "2^63 more than it is", file(GOOD, b"1234", 2**63 + len(GOOD)), "must be at most"
    yield "2^63 - 1", [le64(2**63 - 1), "{}"], "must be at most"
    yield "2^64 - 8, which wraps to 0", [le64(2**64 - 8), "{}"], "must be at most"
    yield "2^64 - 6, which wraps to 2", [le64(2**64 - 6), "{}"], "must be at most"
    yield "2^64 - 1", [le64(2**64 - 1), "{}"], "must be at most"
    yield "at the limit, not there", [le64(100_000_000), "{}"], "must fit in the file"
    yield "above the limit, not there", [le64(100_000_001), "{}"], "must be at most"
    padded = [GOOD, Times(" ", 100_000_000 - len(GOOD))]
    yield "at the limit", file(padded, b"1234"), None
    yield "above the limit", file([*padded, " "], b"1234"), "must be at most"
    yield "100 MiB", [le64(100 << 20), Hole(100 << 20)], "must be at most"


def spaces():
    for name, text in (("space", " "), ("tab", "\t"), ("line feed", "\n"), ("carriage return", "\r")):
        yield f"{name} before", file(text + GOOD, b"1234"), None
        yield f"{name} after", file(GOOD + text * 3, b"1234"), None
    between = GOOD
    for mark in '{}[]:,"':
        between = between.replace(mark, f" {mark} ") if mark != '"' else between
    yield "between all tokens", file(between.replace(" ", " \r\n\t"), b"1234"), None
    yield "none at all, length 2", file("{}"), None
    for name, text in (("NUL", b"\0"), ("form feed", b"\f"), ("vertical tab", b"\v"), ("no-break space", b"\xc2\xa0"),
                       ("line separator", b"\xe2\x80\xa8"), ("byte order mark", b"\xef\xbb\xbf"), ("DEL", b"\x7f"),
                       ("ideographic space", b"\xe3\x80\x80"), ("next line", b"\xc2\x85")):
        for where, json in (("before", [text, GOOD]), ("after", [GOOD, text]), ("within", [b"{", text, GOOD[1:]])):
            yield f"{name} {where}", file(json, b"1234"), "must be JSON"
    yield "only spaces", file("   "), "must be JSON"
    yield "padded with NUL to 8 bytes", file([GOOD, b"\0" * (-len(GOOD) % 8)], b"1234"), "must be JSON"


def json_forms():
    for name, text in (("list", "[]"), ("number", "3"), ("string", '"a"'), ("null", "null"), ("boolean", "true")):
        yield f"{name} on top", file(text), "the header must be a map"
    yield "no tensors", file("{}"), None
    yield "no tensors, but data", file("{}", b"x"), "must end where the last tensor ends"
    for name, text in (("two values", "{}{}"), ("a word after", "{} x"), ("a comma after", "{},"), ("a brace after", "{}}"),
                       ("comments", "{/*x*/}"), ("line comment", "{//x\n}"), ("hash comment", "{#x\n}"),
                       ("trailing comma", GOOD[:-1] + ",}"), ("trailing comma in a list", GOOD.replace("[1]", "[1,]")),
                       ("leading comma", "{," + GOOD[1:]), ("two commas", GOOD.replace("[0,4]", "[0,,4]")),
                       ("no comma", GOOD.replace("[0,4]", "[0 4]")), ("no colon", GOOD.replace(":[1]", " [1]")),
                       ("equals for colon", GOOD.replace(":[1]", "=[1]")), ("single quotes", GOOD.replace('"', "'")),
                       ("bare key", GOOD.replace('"a"', "a")), ("number for key", GOOD.replace('"a"', "1")),
                       ("null for key", GOOD.replace('"a"', "null")), ("brackets crossed", '{"a":{]}'),
                       ("key without value", '{"a"}'), ("key and colon", '{"a":}'), ("value without key", "{:1}"),
                       ("Python's words", GOOD[:-2] + ',"z":None}}'), ("upper-case true", GOOD[:-2] + ',"z":TRUE}}'),
                       ("half of true", GOOD[:-2] + ',"z":tru}}'), ("undefined", GOOD[:-2] + ',"z":undefined}}')):
        yield name, file(text, b"1234"), "must be JSON"
    utf16 = GOOD.encode("utf-16-le")
    yield "UTF-16", file(utf16, b"1234"), "must be JSON"
    yield "UTF-16 with mark", file(b"\xff\xfe" + utf16, b"1234"), "must be JSON"
    yield "UTF-32", file(GOOD.encode("utf-32-be"), b"1234"), "must be JSON"
    yield "gzip's magic", file(b"\x1f\x8b\x08\0" + b"\0" * 20), "must be JSON"
    yield "pickle's opcode", [b"\x80\x02}q\x00X\x06\x00\x00\x00weight"], "must be at most"


# What Python, JavaScript and printf call a number, and JSON; each within double range or not.
NUMBERS = {
    "0": None, "-0": None, "-1": None, "1.5": None, "1e0": None, "1E+2": None, "1e-400": None, "0e400": None,
    "0.0e99999999999999999999": None, "18446744073709551615": None, "18446744073709551616": None,
    "-9223372036854775809": None, "1.7976931348623157e308": None, "0." + "0" * 400 + "1": None, "1e00000000000000000001": None,
    "1e309": "range of a double", "-1e309": "range of a double", "1.8e308": "range of a double",
    "1.7976931348623159e308": "range of a double",
    "1e99999999999999999999": "range of a double", "01": "must be JSON", "-01": "must be JSON", "00": "must be JSON",
    "+1": "must be JSON", "1.": "must be JSON", ".5": "must be JSON", "-.5": "must be JSON", "1e": "must be JSON",
    "1e+": "must be JSON", "1e1.5": "must be JSON", "-": "must be JSON", "--1": "must be JSON", "0x10": "must be JSON",
    "1_000": "must be JSON", "NaN": "must be JSON", "-NaN": "must be JSON", "Infinity": "must be JSON",
    "-Infinity": "must be JSON", "1f": "must be JSON", "1 2": "must be JSON", "٣": "must be JSON",
}


def numbers():
    for text, says in NUMBERS.items():
        yield text if len(text) < 40 else text[:3] + "...1", with_field(text), says
    yield "308 digits", with_field(Times("9", 308)), None
    yield "309 digits", with_field(Times("9", 309)), "range of a double"
    yield "-309 digits", with_field(["-", Times("9", 309)]), "range of a double"
    yield "100,000 digits after the point", with_field(["0.", Times("3", 100_000)]), None
    yield "100,000 digits", with_field(Times("3", 100_000)), "range of a double"


def nesting():
    def deep(opening, closing, times):
        return with_field([Times(opening, times), Times(closing, times)])
    yield "127 levels of lists", deep("[", "]", 125), None
    yield "128 levels of lists", deep("[", "]", 126), "must not nest deeper than 127 levels"
    yield "127 levels of maps", with_field([Times('{"z":', 125), "0", Times("}", 125)]), None
    yield "128 levels of maps", with_field([Times('{"z":', 126), "0", Times("}", 126)]), "must not nest deeper"
    yield "100,000 open lists", with_field(Times("[", 100_000)), "must not nest deeper"
    yield "100,000 open lists on top", file(Times("[", 100_000)), "the header must be a map"
    yield "100,000 open maps", file(Times('{"a":', 100_000)), "must"
    yield "20,000 lists side by side", with_field(["[", Times("[],", 20_000), "0]"]), None
    yield "lists within a shape", tensor(shape="[" * 200 + "]" * 200), "must be an integer"
    yield "a list closed as a map", with_field("[[1}]"), "must be JSON"


ESCAPES = {
    "all that there are": r"\"\\\/\b\f\n\r\tA", "a pair": r"\ud83d\ude00", "a pair in capitals": r"\uD83D\uDE00", "NUL": r"\u0000",
    "noncharacter": r"\uffff", "byte order mark": r"\ufeff",
    "\\x": r"\x41", "\\'": r"\'", "\\a": r"\a", "\\0": r"\0", "\\v": r"\v", "\\U": r"\U0001f600", "\\u with 3 digits": r"\u041",
    "\\u with none": r"\u", "\\u with a letter beyond f": r"\u00g0", "\\u with a sign": r"\u+041", "\\u with braces": r"\u{41}",
    "high surrogate alone": r"\ud83d", "high surrogate, then a letter": r"\ud83dA", "high surrogate, then another escape": r"\ud83d\n",
    "high surrogate, then u0041": r"\ud83d\u0041", "two high surrogates": r"\ud83d\ud83d", "low surrogate alone": r"\ude00",
    "pair reversed": r"\ude00\ud83d", "an escaped line end": "\\\n", "a space": r"\ ",
}
ESCAPES_TAKEN = 6
RAW = {
    "DEL": b"\x7f", "C1 control": b"\xc2\x85", "noncharacter": b"\xef\xbf\xbf", "line separator": b"\xe2\x80\xa8",
    "byte order mark": b"\xef\xbb\xbf", "emoji": "😀".encode(), "last code point": b"\xf4\x8f\xbf\xbf",
    "NUL": b"\0", "control 1": b"\1", "tab": b"\t", "line feed": b"\n", "carriage return": b"\r", "escape": b"\x1b", "control 31": b"\x1f",
    "overlong slash": b"\xc0\xaf", "overlong NUL": b"\xc0\x80", "overlong of 3": b"\xe0\x80\xaf", "overlong of 4": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80", "surrogate pair (CESU-8)": b"\xed\xa0\xbd\xed\xb8\x80", "beyond the last": b"\xf4\x90\x80\x80",
    "5 bytes": b"\xf8\x88\x80\x80\x80", "byte FE": b"\xfe", "byte FF": b"\xff", "continuation alone": b"\x80", "Latin-1": b"caf\xe9",
    "cut of 2": b"\xc3", "cut of 3": b"\xe2\x82", "cut of 4": b"\xf0\x9f\x98",
}
RAW_TAKEN = 7


def strings():
    for table, taken, kind in ((ESCAPES, ESCAPES_TAKEN, "escape"), (RAW, RAW_TAKEN, "raw")):
        for idx, (name, text) in enumerate(table.items()):
            says = None if idx < taken else "must be JSON"
            yield f"{kind}: {name}", with_field(['"', text, '"']), says
            # In the other places where strings stand, in turns.
            where = ("tensor name", "metadata key", "metadata value")[idx % 3]
            json = {"tensor name": ['{"', text, '":', EMPTY, "}"], "metadata key": ['{"__metadata__":{"', text, '":"v"}}'],
                    "metadata value": ['{"__metadata__":{"k":"', text, '"}}']}[where]
            yield f"{kind} in a {where}: {name}", file(json), says
    yield "no closing quote", file('{"a'), "must be JSON"
    yield "a megabyte of backslashes", with_field(['"', Times("\\\\", 500_000), '"']), None


def names():
    for name, text in (("empty", ""), ("NUL", r"a\u0000b"), ("NUL alone", r"\u0000"), ("line feed", r"a\nb"), ("quotes", r"\"a\""),
                       ("backslash", r"a\\b"), ("out of the folder", "../x"), ("absolute", "/etc/passwd"), ("emoji", "😀"),
                       ("escape sequence", r"\u001b[2J"), ("as a field", "dtype"), ("markup", "<b>&amp;</b>"),
                       ("metadata in capitals", "__METADATA__"), ("metadata with a space", "__metadata__ "), ("right to left", "\u202eabc"),
                       ("spaces", "  "), ("number", "0"), ("prototype", "__proto__")):
        yield name, file(f'{{"{text}":{EMPTY}}}'), None
    composed, decomposed = "\u00e9", "e\u0301"
    yield "composed and decomposed", file(f'{{"{composed}":{EMPTY},"{decomposed}":{EMPTY}}}'), None
    yield "cut at NUL the same", file(f'{{"a\\u0000b":{EMPTY},"a\\u0000c":{EMPTY},"a":{EMPTY}}}'), None
    yield "beyond and within the first plane", file(f'{{"\U00010000":{EMPTY},"\uffee":{EMPTY}}}'), None
    yield "upper and lower case", file(f'{{"A":{EMPTY},"a":{EMPTY}}}'), None
    yield "a megabyte", file(['{"', Times("n", 1 << 20), f'":{EMPTY}}}']), None
    yield "a megabyte, in a file refused", file(['{"', Times("n", 1 << 20), '":3}']), "a tensor must be a map"
    many = ",".join(f'"t{i}":{EMPTY}' for i in range(300))
    yield "300 tensors", file("{" + many + "}"), None


WHOLE = (r'{"__metadata__":{"k":"v\n"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},'
         r'"b":{"shape":[],"data_offsets":[8,10],"dtype":"BF16"}}')


def cuts():
    """Cut in every place where another token, or a part of one, begins."""
    data = counting(10)
    yield "nothing", file(WHOLE, data), None
    places = [i for i in range(1, len(WHOLE)) if WHOLE[i - 1] in '{}[]:,"\\' or WHOLE[i] in '{}[]:,"']
    for i in places:
        if i % 2 or WHOLE[i - 1] in "}]":
            yield f"header after byte {i}", file(WHOLE[:i], data), "must be JSON"
    for i in (0, 1, 20, len(WHOLE) // 2, len(WHOLE) - 1):
        yield f"file after byte {i} of the header", file(WHOLE, length=len(WHOLE))[:1] + [WHOLE[:i]], "must fit in the file"
    for i in (0, 1, 7, 8, 9):
        yield f"file after byte {i} of the data", file(WHOLE, data[:i]), "must end within the file"
    yield "one byte more", file(WHOLE, counting(11)), "must end where the last tensor ends"
    yield "a page more", file(WHOLE, counting(4096)), "must end where the last tensor ends"


def large():
    five = 5 * 2**30
    yield "5 GiB", file(f'{{"a":{entry(chr(34) + "U8" + chr(34), f"[{five}]", f"[0,{five}]")}}}', Hole(five)), None
    two = entry('"U8"', f"[{five}]", f"[0,{five}]"), entry('"U8"', "[4]", f"[{five},{five + 4}]")
    yield "a tensor beyond 4 GiB", file(f'{{"a":{two[0]},"b":{two[1]}}}', Hole(five + 4)), None
    yield "5 GiB, one byte short", file(f'{{"a":{entry(chr(34) + "U8" + chr(34), f"[{five}]", f"[0,{five}]")}}}', Hole(five - 1)), "must end within"
    wraps = entry('"U8"', f"[{five}]", f"[0,{2**30}]")
    yield "a size that is right in 32 bits", file(f'{{"a":{wraps}}}', Hole(2**30)), "must hold"
    assert size_of(file("{}")) == 10


GROUPS = {"length": lengths, "space": spaces, "json": json_forms, "number": numbers, "nesting": nesting, "string": strings,
          "name": names, "cut": cuts, "large": large}
