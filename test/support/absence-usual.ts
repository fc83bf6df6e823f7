/** What policies often say, and may: none of it lets through because something is missing. */
import { HOME, type Row } from "./absence.ts";

/** Each lets `"/srv/x"` through, and neither `["/etc/passwd"]` nor `"/etc/passwd"`. */
export const TWINS: readonly Row[] = [
  [
    "a set of rules of names",
    `may contains "notes__read" if "analyst" in input.principal.roles\n\nallow if { input.target.name in may; "home" in good }`,
  ],
  [
    "all checks in an object",
    `checks := {"who": input.principal.kind == "user", "where": "home" in good}\n\nallow if { every c in checks { c == true } }`,
  ],
  [
    "no check failed",
    `checks := {"who": input.principal.kind == "user", "where": input.request.ip == "127.0.0.1"}\n\nallow if { not false in checks; "home" in good }`,
  ],
  [
    "approvals",
    `approvals contains "a" if ${HOME}\n\napprovals contains "b" if ${HOME}\n\nallow if { count(approvals) >= 2 }`,
  ],
  [
    "rbac",
    `grants := {"analyst": [{"op": "tools/call", "tool": "notes__read"}]}\n\nallow if {\n\tsome role in input.principal.roles\n\tsome g in grants[role]\n\tg.op == input.request.operation\n\tg.tool == input.target.name\n\t"home" in good\n}`,
  ],
  ["by department", `allow if { object.get(input.principal.claims, "dep", "") != "x"; "home" in good }`],
  [
    "a server by its name",
    `allow if { [server, _] := split(input.target.name, "__"); server == "notes"; "home" in good }`,
  ],
  [
    "a server by its name, at",
    `allow if { parts := split(input.target.name, "__"); parts[0] in {"notes"}; count(parts) == 2; "home" in good }`,
  ],
  [
    "hours",
    `allow if { [h, _, _] := time.clock(time.parse_rfc3339_ns(input.request.time)); h >= 9; h < 18; "home" in good }`,
  ],
  ["networks", `allow if { net.cidr_contains("127.0.0.0/8", input.request.ip); "home" in good }`],
  [
    "a matrix",
    `may["user"] := {"notes__read", "notes__list"}\n\nmay["agent"] := {"notes__list"}\n\nallow if { input.target.name in may[input.principal.kind]; "home" in good }`,
  ],
  [
    "a matrix of truths",
    `may := {"user": {"notes__read": true}, "agent": {}}\n\nallow if { may[input.principal.kind][input.target.name]; "home" in good }`,
  ],
  ["every path of a list", `allow if { every p in [input.arguments.path] { startswith(p, "/srv") } }`],
  [
    "a base folder",
    `base(path) := concat("/", array.slice(split(path, "/"), 0, 2))\n\nallow if base(input.arguments.path) == "/srv"`,
  ],
  [
    "a base folder among some",
    `base(path) := concat("/", array.slice(split(path, "/"), 0, 2))\n\nallow if base(input.arguments.path) in {"/srv", "/home"}`,
  ],
  ["the last of a path", `allow if { parts := split(input.arguments.path, "/"); parts[count(parts) - 1] == "x" }`],
  [
    "levels",
    `levels := {"public": 0, "secret": 3}\n\ntool_level := max([levels[t] | some t in ["public"]])\n\nclearance := levels.secret if ${HOME}\n\nallow if tool_level <= clearance`,
  ],
  [
    "a clearance by default",
    `levels := {"public": 0, "secret": 3}\n\ndefault clearance := 0\n\nclearance := levels.secret if ${HOME}\n\nallow if clearance >= 2`,
  ],
  [
    "a tier by default",
    `default tier := "free"\n\ntier := "gold" if "gold" in input.principal.roles\n\nlimits := {"free": 100, "gold": 1000}\n\nallow if { count(input.arguments.path) <= limits[tier]; "home" in good }`,
  ],
  [
    "a tenant by default",
    `default tenant := "none"\n\ntenant := input.principal.tenant\n\nallow if { concat(":", ["tenant", tenant]) in {"tenant:default"}; "home" in good }`,
  ],
  [
    "a verdict of a function",
    `verdict(path) := "allow" if { startswith(path, "/srv") } else := "deny"\n\nallow if verdict(input.arguments.path) == "allow"`,
  ],
  [
    "a verdict of a function, looked up",
    `verdict(path) := "fine" if { startswith(path, "/srv") } else := "wrong"\n\neffects := {"fine": true, "wrong": false}\n\nallow if effects[verdict(input.arguments.path)]`,
  ],
  ["scores of trust", `points contains 3 if ${HOME}\n\npoints contains 4 if ${HOME}\n\nallow if sum(points) > 6`],
  ["the best of scores", `points contains 3 if ${HOME}\n\npoints contains 4 if ${HOME}\n\nallow if max(points) >= 4`],
  [
    "a decision with what a library adds",
    `extra := {"obligations": {"redact": []}}\n\nverdict := object.union({"allow": "home" in good, "reasons": []}, extra)\n\nallow if verdict.allow`,
  ],
  [
    "a list of reasons beside",
    `why := [sprintf("bad %d", [count(bad)])]\n\nverdict := {"allow": "home" in good, "reasons": why}\n\nallow if verdict.allow`,
  ],
  [
    "what is said of how many",
    `notes contains sprintf("bad %d", [count(bad)])\n\nallow if { count(notes) > 0; "home" in good }`,
  ],
  [
    "object.get of a rule with a default that denies",
    `effects := {"home": "allow"}\n\nallow if { some x in good; object.get(effects, x, "deny") == "allow" }`,
  ],
  [
    "object.get of a count with a default that denies",
    `effects := {2: "allow"}\n\nok if { count(good) > 1; object.get(effects, 2, "deny") == "allow" }\n\nallow if ok`,
  ],
];
