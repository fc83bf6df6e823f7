/**
 * Operands for the built-ins that the engine adds, as Rego text: mostly such as fit, often such as are just beside it.
 * One row for each built-in; a built-in without one fails the test that uses them.
 */
import fc from "fast-check";

type Text = fc.Arbitrary<string>;
export type Operands = fc.Arbitrary<readonly string[]>;

const quoted = (text: fc.Arbitrary<string>): Text => text.map((value) => JSON.stringify(value));
const oneOf = (...texts: readonly string[]): Text => fc.constantFrom(...texts);
const words = fc.constantFrom("", "a", "ab", "aab", "b", "é", "\u{1f600}x", "a,b,,c", ",", "xax", "A b", "\uff5ea");
const anyText = fc.oneof(words, fc.string({ unit: "grapheme", maxLength: 12 }), fc.string({ maxLength: 20 }));
const string = quoted(anyText);
const integer = fc.oneof(
  fc.integer({ min: -20, max: 300 }).map(String),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
  oneOf("0", "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808"),
);
const float = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => String(value).replace("e+", "e")),
  oneOf("1.0", "2.50", "1e3", "0.1", "-0.0", "1e21", "1e-7", "123456789.5"),
);
const number = fc.oneof(integer, float);
const scalar = fc.oneof(string, number, oneOf("true", "false", "null"));
const term: Text = fc.letrec<{ readonly any: string }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 2, depthIdentifier: "term" },
    scalar,
    listOf(tie("any")),
    setOf(tie("any")),
    objectOf(fc.oneof(string, tie("any")), tie("any")),
  ),
})).any;

function listOf(item: Text, maxLength = 4): Text {
  return fc.array(item, { maxLength }).map((items) => `[${items.join(", ")}]`);
}
function setOf(item: Text, maxLength = 4): Text {
  return fc
    .uniqueArray(item, { maxLength, selector: same })
    .map((items) => (items.length === 0 ? "set()" : `{${items.join(", ")}}`));
}
/** 1 and 1.0 are one element: of the two, each engine keeps another. */
function same(text: string): string {
  return /^[\d.eE+-]+$/.test(text) ? String(Number(text)) : text;
}
function objectOf(key: Text, value: Text): Text {
  // no key twice: such an object would be an error of the text, not of the built-in
  return fc
    .uniqueArray(fc.tuple(key, value), { maxLength: 4, selector: ([one]) => same(one) })
    .map((entries) => `{${entries.map(([one, other]) => `${one}: ${other}`).join(", ")}}`);
}
/** Nine in ten as given, the rest of any kind. */
const mostly = (text: Text): Text => fc.oneof({ weight: 9, arbitrary: text }, { weight: 1, arbitrary: term });
const many = (text: Text): Text => fc.oneof(text, listOf(text), setOf(text));

const format = fc
  .array(
    fc.oneof(
      anyText,
      fc
        .tuple(
          fc.subarray(["+", "-", "#", " ", "0"]),
          fc.constantFrom("", "", "7", "*", "[2]", "[1]", "030"),
          fc.constantFrom("", "", ".", ".0", ".3", ".*", ".[1]*", ".12"),
          fc.constantFrom(..."vvvdddsssqxXobOcUeEfFgGtT%".split(""), "é"),
        )
        .map(([flags, width, precision, verb]) => `%${flags.join("")}${width}${precision}${verb}`),
    ),
    { maxLength: 4 },
  )
  .map((parts) => parts.join(""));

const zones = fc.constantFrom(
  "",
  "UTC",
  "America/New_York",
  "Europe/Berlin",
  "Asia/Kolkata",
  "Australia/Sydney",
  "Local",
  "Pacific/Apia",
  "europe/berlin",
  "Nowhere",
  "Etc/GMT+5",
);
const layouts = fc.constantFrom(
  "",
  "ANSIC",
  "RubyDate",
  "RFC822Z",
  "RFC1123Z",
  "RFC3339",
  "RFC3339Nano",
  "Jan _2 06 03:04PM",
  "Monday 15h 002 __2",
  "20060102T150405.999999Z0700",
  ".00 Z070000 -07:00:00 pm 3 4 5 1",
  "2006年 _2006",
);
const ns = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
  fc.bigInt({ min: 0n, max: 2n ** 61n }).map(String),
  oneOf("0", "-1", "1e18", "1.5", "1711846799000000000", "1711846800000000000", "1730595600000000000"),
);
const moment = fc.oneof(
  ns,
  fc
    .tuple(ns, zones, layouts)
    .map(([at, zone, layout]) => `[${at}, ${JSON.stringify(zone)}, ${JSON.stringify(layout)}]`),
  fc.tuple(ns, zones).map(([at, zone]) => `[${at}, ${JSON.stringify(zone)}]`),
);
const two = (most: number): fc.Arbitrary<string> =>
  fc.integer({ min: 0, max: most }).map((value) => String(value).padStart(2, "0"));
const rfc3339 = fc
  .tuple(
    fc.integer({ min: 1600, max: 2300 }),
    two(13),
    two(32),
    two(24),
    two(60),
    two(60),
    fc.constantFrom("", ".5", ".123456789123", ",25"),
    fc.constantFrom("Z", "Z", "+01:30", "-23:59", "+25:00", "", "z"),
  )
  .map(
    ([year, month, day, hour, minute, second, fraction, zone]) =>
      `${year}-${month}-${day}T${hour}:${minute}:${second}${fraction}${zone}`,
  );
const parsed = fc
  .constantFrom(
    ["Jan _2 06 03:04PM", "Feb  3 26 11:59AM"],
    ["Jan _2 06 03:04PM", "feb 30 99 12:00PM"],
    ["002 2006 15", "060 2024 7"],
    ["002 2006", "366 2023"],
    ["RFC1123", "Mon, 02 Jan 2006 15:04:05 CEST"],
    ["RFC850", "Monday, 02-Jan-06 15:04:05 UTC"],
    ["2006-01-02 15:04:05.000 -07", "2026-11-22 10:00:00.250 +02"],
    ["2006  x", "2026 x"],
    ["2006", "x"],
  )
  .chain(([layout = "", value = ""]) =>
    fc
      .constantFrom(value, value.toLowerCase(), ` ${value}`, value.slice(1))
      .map((text) => [JSON.stringify(layout), JSON.stringify(text)]),
  );
const duration = fc
  .array(
    fc.tuple(
      fc.constantFrom("1", "2.5", "0.1", ".5", "300", "", "106751", "9223372036854775807"),
      fc.constantFrom("h", "m", "s", "ms", "us", "µs", "ns", "d", "w", "y", "x", ""),
    ),
    { maxLength: 3 },
  )
  .chain((parts) => fc.constantFrom("", "-", "+").map((sign) => sign + parts.map((part) => part.join("")).join("")));

const amount = fc
  .tuple(
    fc.constantFrom("", "-", "+"),
    fc.constantFrom(
      "1",
      "10.5",
      "0.001",
      "1e3",
      "1.5E-3",
      "12345678901234567890123",
      "99999999999999999999.5",
      ".5",
      "1.",
      "",
      "0.33333333333333333333",
      "1e20",
      "1e1000000",
    ),
    fc.constantFrom(
      "",
      "k",
      "K",
      "Ki",
      "kI",
      "KiB",
      "kb",
      "m",
      "M",
      "mi",
      "MiB",
      "g",
      "Gi",
      "T",
      "Ti",
      "P",
      "Pi",
      "e",
      "E",
      "Ei",
      "EB",
      "eib",
      " ",
      '"',
      "x",
    ),
  )
  .map((parts) => parts.join(""));
const version = fc
  .tuple(
    fc.constantFrom("", "v", "vv"),
    fc.constantFrom("1.0.0", "1.2.3", "01.0.0", "1.0", "9223372036854775808.0.0", "0.0.1"),
    fc.constantFrom(
      "",
      "-alpha",
      "-alpha.1",
      "-alpha.beta",
      "-1",
      "-01",
      "-0a",
      "-rc.11",
      "-rc.2",
      "-99999999999999999999",
      "-",
    ),
    fc.constantFrom("", "+b", "+b.1", "+", "+é"),
  )
  .map((parts) => parts.join(""));

const octet = fc.integer({ min: 0, max: 255 });
const v4 = fc
  .oneof(
    fc.tuple(fc.constant(10), fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 3 }), octet),
    fc.tuple(octet, octet, octet, octet),
  )
  .map((parts) => parts.join("."));
// none below 100::, whose first byte OPA's merge loses
const v6 = fc.constantFrom(
  "2001:db8::",
  "2001:db8::1",
  "2001:DB8:0:1::",
  "fe80::1",
  "a001:2:3:4:5:6:7:8",
  "2001:db8:0:0:1::",
  "a001:2:3:4:5:6:1.2.3.4",
  "fe80::1%eth0",
  "1::2::3",
  "12345::",
);
const cidr4 = fc.tuple(v4, fc.integer({ min: 20, max: 33 })).map((parts) => parts.join("/"));
const cidr6 = fc.tuple(v6, fc.integer({ min: 60, max: 129 })).map((parts) => parts.join("/"));
const cidr = fc.oneof(
  { weight: 4, arbitrary: cidr4 },
  { weight: 2, arbitrary: cidr6 },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "x",
      "10.0.0.0",
      "::ffff:10.0.0.1/120",
      "01.2.3.4/8",
      "0.0.0.0/0",
      "::/0",
      "10.0.0.0/024",
    ),
  },
);
const addressed = quoted(fc.oneof(cidr, v4, v6));
const small = fc
  .tuple(fc.oneof(v4, fc.constantFrom("2001:db8::f0", "::ffff:1.2.3.4")), fc.integer({ min: 24, max: 32 }))
  .map(([address, prefix]) => `${address}/${address.includes(":") ? prefix + 96 : prefix}`);

const hex = fc.string({ unit: fc.constantFrom(..."0123456789abcdefABCDEF".split("")), maxLength: 12 });
const uuid = fc
  .tuple(
    fc.uuid(),
    fc.constantFrom("1", "2", "4", "7", "f"),
    fc.constantFrom("%", "{%}", "urn:uuid:%", "x%", "%y", "[%]"),
  )
  .map(([id, digit, around]) => around.replace("%", `${id.slice(0, 14)}${digit}${id.slice(15)}`));
const base64Json = fc
  .oneof(
    fc.constantFrom(
      '{"alg":"HS256"}',
      '{"alg":"none","cty":"JWT"}',
      '{"enc":"x"}',
      "[]",
      "x",
      '{"a":1.50,"a":2}',
      '{"big":12345678901234567890}',
    ),
    fc.json(),
  )
  .map((text) => Buffer.from(text).toString("base64url"));
const token = fc
  .tuple(base64Json, base64Json, fc.constantFrom("", "c2ln", "x", "c2k="))
  .map((parts) => parts.join("."));

const pattern = fc.constantFrom(
  "a*",
  "(a)(b)?",
  "(?i)A|É",
  "[^,]+",
  "\\b",
  "^",
  "$",
  "(?P<first>\\w)(\\w*)",
  "x*",
  "(",
  "a{2,1}",
  ".",
  "(?s).+",
  "\\pL+",
  "[[:alpha:]]{2}",
  "(a|ab)(c|bcd)?",
  "a+?",
  "(?m)^a",
  "\\Qa,\\E",
  "é|\\x{1f600}",
);
const template = fc.constantFrom(
  "",
  "-",
  "$1",
  "<$0>",
  "${1}x",
  "$1x",
  "$first",
  "${first}!",
  "$$",
  "$",
  "${",
  "$9",
  "$01",
  "é$2",
);

const key = fc.constantFrom('"a"', '"b"', '"0"', "0", "1", '"-"', '"~1x"', "null");
const nested: Text = fc.letrec<{ readonly any: string }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 3 },
    oneOf("1", "null", '"a"', '"b"', "1.0", "{1, 2}", '{"a", [1]}'),
    listOf(tie("any")),
    objectOf(key, tie("any")),
    setOf(oneOf('"a"', '"b"', "1")),
  ),
})).any;
const path = fc.oneof(
  // never the whole document, after whose replacement OPA's own edits crash
  fc
    .array(fc.constantFrom("a", "b", "0", "1", "-", "01", "~1x", "x"), { minLength: 1, maxLength: 3 })
    .map((parts) => JSON.stringify(`/${parts.join("/")}`)),
  fc
    .array(fc.oneof(key, oneOf("{1, 2}", "[1]")), { minLength: 1, maxLength: 3 })
    .map((parts) => `[${parts.join(", ")}]`),
);
const operation = fc.oneof(
  fc
    .tuple(fc.constantFrom("add", "replace", "test", "add"), path, nested)
    .map(([op, at, value]) => `{"op": "${op}", "path": ${at}, "value": ${value}}`),
  fc
    .tuple(fc.constantFrom("move", "copy"), path, path)
    .map(([op, at, from]) => `{"op": "${op}", "path": ${at}, "from": ${from}}`),
  path.map((at) => `{"op": "remove", "path": ${at}}`),
  oneOf(
    "{}",
    "1",
    '{"op": "remove"}',
    '{"op": 1, "path": ""}',
    '{"op": "x", "path": ""}',
    '{"op": "add", "path": "/a"}',
  ),
);
const query = fc
  .array(fc.constantFrom("a", "=", "&", "%41", "%zz", "+", "%C3%A9", "b=1", ";", "é", " "), { maxLength: 6 })
  .map((parts) => parts.join(""));

const step = fc.oneof(fc.integer({ min: -3, max: 40 }).map(String), oneOf("1.5", "2.0", "1e1", "99999999999999999999"));
const range = fc
  .tuple(fc.bigInt({ min: -100n, max: 100n }), fc.constantFrom(0n, 2n ** 64n))
  .map(([value, far]) => String(value + far));

export const OPERANDS: { readonly [name: string]: Operands } = {
  sprintf: fc.tuple(mostly(quoted(format)), mostly(listOf(fc.oneof(number, string, term), 3))),
  "strings.any_prefix_match": fc.tuple(mostly(many(string)), mostly(many(string))),
  "strings.any_suffix_match": fc.tuple(mostly(many(string)), mostly(many(string))),
  "strings.count": fc.tuple(mostly(string), mostly(string)),
  "strings.split_n": fc.tuple(mostly(string), mostly(string), mostly(number)),
  indexof_n: fc.tuple(mostly(string), mostly(string)),
  "time.parse_rfc3339_ns": fc.tuple(mostly(quoted(rfc3339))),
  "time.parse_ns": fc.oneof(parsed, fc.tuple(mostly(quoted(layouts)), mostly(string))),
  "time.parse_duration_ns": fc.tuple(mostly(quoted(duration))),
  "time.format": fc.tuple(mostly(moment)),
  "time.date": fc.tuple(mostly(moment)),
  "time.clock": fc.tuple(mostly(moment)),
  "time.weekday": fc.tuple(mostly(moment)),
  // not so far that Go's own sums overflow
  "time.add_date": fc.tuple(
    moment,
    ...[30, 60, 900].map((most) =>
      fc.oneof(
        { weight: 9, arbitrary: fc.integer({ min: -most, max: most }).map(String) },
        { weight: 1, arbitrary: oneOf("1.5", "2.0", "null", "100000000000000000000") },
      ),
    ),
  ),
  "time.diff": fc.tuple(moment, mostly(moment)),
  "units.parse": fc.tuple(mostly(quoted(amount))),
  "units.parse_bytes": fc.tuple(mostly(quoted(amount))),
  "numbers.range_step": fc.tuple(range, range, step).filter(([from, to]) => from.length > 10 === to.length > 10),
  "semver.is_valid": fc.tuple(mostly(quoted(version))),
  "semver.compare": fc.tuple(mostly(quoted(version)), mostly(quoted(version))),
  "net.cidr_is_valid": fc.tuple(mostly(addressed)),
  "net.cidr_expand": fc.tuple(mostly(quoted(small))),
  "net.cidr_merge": fc.oneof(fc.tuple(mostly(many(quoted(fc.oneof(cidr4, v4))))), fc.tuple(many(quoted(cidr6)))),
  "net.cidr_contains_matches": fc.tuple(
    ...[0, 1].map(() => mostly(fc.oneof(many(addressed), objectOf(key, addressed), listOf(listOf(addressed, 2), 2)))),
  ),
  "uuid.parse": fc.tuple(mostly(quoted(uuid))),
  "urlquery.encode": fc.tuple(mostly(string)),
  "urlquery.decode": fc.tuple(mostly(quoted(query))),
  "urlquery.encode_object": fc.tuple(mostly(objectOf(string, fc.oneof(string, listOf(string), setOf(string))))),
  "urlquery.decode_object": fc.tuple(mostly(quoted(query))),
  "hex.encode": fc.tuple(mostly(string)),
  "hex.decode": fc.tuple(
    mostly(
      quoted(
        fc.oneof(
          hex,
          anyText.map((text) => Buffer.from(text).toString("hex")),
        ),
      ),
    ),
  ),
  "base64url.encode_no_pad": fc.tuple(mostly(string)),
  "crypto.md5": fc.tuple(mostly(string)),
  "crypto.sha1": fc.tuple(mostly(string)),
  "crypto.sha256": fc.tuple(mostly(string)),
  "crypto.hmac.md5": fc.tuple(mostly(string), mostly(string)),
  "crypto.hmac.sha1": fc.tuple(mostly(string), mostly(string)),
  "crypto.hmac.sha256": fc.tuple(mostly(string), mostly(string)),
  "crypto.hmac.sha512": fc.tuple(mostly(string), mostly(string)),
  "crypto.hmac.equal": fc.tuple(mostly(string), mostly(string)),
  "io.jwt.decode": fc.tuple(mostly(quoted(token))),
  "json.patch": fc.tuple(nested, mostly(listOf(operation, 3))),
  "object.subset": fc.tuple(mostly(nested), mostly(nested)),
  "regex.replace": fc.tuple(mostly(string), mostly(quoted(pattern)), mostly(quoted(template))),
  "regex.find_n": fc.tuple(
    mostly(quoted(pattern)),
    mostly(string),
    mostly(fc.integer({ min: -2, max: 5 }).map(String)),
  ),
};
