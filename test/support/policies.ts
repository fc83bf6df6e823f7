/** Random policies, and the inputs that they are asked about: rules as people write them, of all that the engine evaluates. */
import fc from "fast-check";
import type { JsonObject } from "../../src/model.ts";

const role = fc.constantFrom("reader", "writer", "admin");
const CONDITIONS: readonly fc.Arbitrary<string>[] = [
  role.map((name) => `"${name}" in input.principal.roles`),
  role.map((name) => `{one | some one in input.principal.roles; one != "${name}"} != set()`),
  role.map((name) => `every one in input.principal.roles { one != "${name}" }`),
  fc.integer({ min: -2, max: 9 }).map((value) => `input.arguments.n > ${value}`),
  fc.integer({ min: 0, max: 3 }).map((value) => `data.users[input.principal.id].level >= ${value}`),
  fc.integer({ min: 0, max: 4 }).map((value) => `count(input.tool.tags) == ${value}`),
  fc.constantFrom("fi", "db", "net").map((prefix) => `startswith(input.tool.server, "${prefix}")`),
  fc.constantFrom("files__*", "*__read", "d?__*").map((glob) => `glob.match("${glob}", ["/"], input.tool.server)`),
  fc.constantFrom("^[a-z]+__", "(re|wri)(ad|te)$", "x*").map((text) => `regex.match(\`${text}\`, input.tool.server)`),
  fc.integer({ min: 0, max: 23 }).map((hour) => `time.clock(time.now_ns())[0] >= ${hour}`),
  fc.constantFrom("Monday", "Sunday").map((day) => `time.weekday([time.now_ns(), "Europe/Berlin"]) != "${day}"`),
  fc.constant(`not input.arguments.path in data.deny`),
  fc.constant(`not strings.any_prefix_match(input.arguments.path, data.deny)`),
  fc.constant(`object.subset(input.arguments, {"n": 1})`),
  fc.constant(`semver.compare(input.tool.version, "1.2.0") >= 0`),
  fc.constant(`net.cidr_contains("10.0.0.0/8", input.request.ip)`),
  fc.constant(`sprintf("%s-%v", [input.principal.id, input.arguments.n]) == "alice-1"`),
  fc.constant(`units.parse_bytes(input.arguments.size) < 2048`),
  fc.constant(`count({tag | some tag in input.tool.tags; tag != "pii"}) > 0`),
  fc.constant(`regex.replace(input.arguments.path, "[aeiou]", "_") != "r_"`),
  fc.constant(`to_number(input.arguments.size) == 1`),
  fc.constant(`input.arguments.n * 2 == input.arguments.n + input.arguments.n`),
  fc.constant(`input.arguments.n % 2 == 0`),
  fc.constant(`walk(input.arguments, [_, "rm"])`),
  fc.constantFrom("==", "!=").map((operator) => `input.request.operation ${operator} "tools/call"`),
  fc.constant(`not input.arguments`),
];
const condition = fc.oneof(...CONDITIONS);
const body = fc.array(condition, { minLength: 1, maxLength: 3 }).map((all) => all.map((one) => `\t${one}`).join("\n"));

export const policies: fc.Arbitrary<string> = fc
  .record({
    allow: fc.array(body, { minLength: 1, maxLength: 3 }),
    reasons: fc.array(body, { maxLength: 2 }),
    isDefault: fc.boolean(),
    orElse: fc.option(body, { nil: null }),
    conflict: fc.option(body, { nil: null, freq: 8 }),
    isNegated: fc.boolean(),
  })
  .map(({ allow, reasons, isDefault, orElse, conflict, isNegated }) => {
    const rules = allow.map((text) => `allow if {\n${text}\n}`);
    const because = reasons.map((text, at) => `reasons contains "r${at}" if {\n${text}\n}`);
    const tier = orElse === null ? "" : `tier := 1 if {\n${orElse}\n} else := 2 if input.arguments.n\n`;
    const clash = conflict === null ? "" : `decision := {"allow": 1} if {\n${conflict}\n}\n`;
    const value = `{"allow": allow, "reasons": reasons${orElse === null ? "" : ', "tier": tier'}}`;
    return [
      "package p\n",
      isDefault ? "default allow := false\n" : "",
      ...rules,
      "",
      ...because,
      because.length === 0 ? "reasons := set()\n" : "",
      tier,
      `decision := ${value}${isNegated ? " if not input.principal.claims.closed" : ""}\n`,
      clash,
    ].join("\n");
  });

export const inputs: fc.Arbitrary<JsonObject> = fc
  .record(
    {
      request: fc.record({
        time: fc.constantFrom("2026-11-22T11:00:00Z", "2026-11-23T23:30:00+02:00", "2026-06-01T00:00:00.5Z"),
        ip: fc.constantFrom("10.1.2.3", "192.168.0.1", "::1", "x"),
      }),
      principal: fc.record({
        id: fc.constantFrom("alice", "bob", "carol"),
        roles: fc.subarray(["reader", "writer", "admin"]),
        claims: fc.record({ closed: fc.boolean() }, { requiredKeys: [] }),
      }),
      tool: fc.record({
        server: fc.constantFrom("files__read", "db__write", "net__x", ""),
        version: fc.constantFrom("1.2.0", "0.9.0", "x"),
        tags: fc.subarray(["pii", "slow", "x"]),
      }),
      arguments: fc.record(
        {
          n: fc.oneof(fc.integer({ min: -3, max: 12 }), fc.constantFrom(1, 2, 0.5, "1")),
          path: fc.constantFrom("rm", "drop table", "read", ""),
          size: fc.constantFrom("1", "1KiB", "10MB", "x"),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: ["request", "principal"] },
  )
  .map((input) => input as unknown as JsonObject);
