/** The harmless twins of absence.ts: the same things used so that a failure denies. */
import { FAILS, GRADE, HOME, TRUSTED, type Row } from "./absence.ts";

/** Each lets `"/srv/x"` through, and neither `["/etc/passwd"]` nor `"/etc/passwd"`. */
export const TWINS: readonly Row[] = [
  ["a default that is not asked for", `${GRADE}allow if grade == "high"`],
  ["a default that is refused", `${GRADE}allow if grade != "low"`],
  ["a default outside of those asked for", `${GRADE}allow if grade in {"high", "higher"}`],
  ["a default that has no key", `${GRADE}fine := {"high": true}\n\nallow if fine[grade]`],
  ["a default that has a key of false", `${GRADE}fine := {"high": true, "low": false}\n\nallow if fine[grade]`],
  ["a default that stands low", `${GRADE}rank := {"low": 0, "high": 9}\n\nallow if rank[grade] > 5`],
  [
    "a default that stands low, against what is not known",
    `${GRADE}rank := {"low": 0, "high": 9}\n\nallow if rank[grade] >= count(input.principal.roles)`,
  ],
  ["a default that a function refuses", `${GRADE}is_high(it) if it == "high"\n\nallow if is_high(grade)`],
  ["a default of false that must be true", `${TRUSTED}allow if trusted == true`],
  ["a default of false that must not be", `${TRUSTED}allow if trusted != false`],
  ["a default of false that a list must have", `${TRUSTED}allow if every it in [trusted, true] { it }`],
  ["a test of a default, denied", `${GRADE}allow if (grade == "low") == false`],
  ["a test in a rule, denied", `${GRADE}is_low := grade == "low"\n\nallow if is_low == false`],
  [
    "a rule that is only there, for it has a default",
    `default n := 3\n\nn := 1 if not ${FAILS}\n\nallow if { _ = n; "home" in good }`,
  ],
  [
    "a default that says what others say",
    `default grade := "fine"\n\ngrade := "best" if ${HOME}\n\nallow if { grade in {"fine", "best"}; "home" in good }`,
  ],
  [
    "a number of what its rule reads besides",
    `n := count([1 | "no" in input.tool.tags]) if input.tool.tags\n\nallow if { n < 1; "home" in good }`,
  ],
  [
    "an else that reads what is before it",
    `risk := "high" if "no" in input.tool.tags\n\nelse := "low" if input.tool.tags\n\nallow if { risk == "low"; "home" in good }`,
  ],
  [
    "a function of texts",
    `has(it) if concat(":", ["is", it]) in input.principal.roles\n\nallow if { not has("x"); "home" in good }`,
  ],
  [
    "a text that another expression proves",
    `allow if { is_string(input.arguments.path); not ${FAILS}; "home" in good }`,
  ],
  [
    "a text that a pattern proves",
    `allow if { regex.match("^/[a-z/]+$", input.arguments.path); not contains(input.arguments.path, "etc") }`,
  ],
  [
    "a pattern and a text that a function made",
    `allow if {\n\tit := lower(input.arguments.path)\n\tnot regex.match("^/(etc|root)", it)\n}`,
  ],
  [
    "every one of a list of texts",
    `words := ["etc", "root"]\n\nallow if {\n\tit := lower(input.arguments.path)\n\tevery word in words { not contains(it, word) }\n}`,
  ],
  [
    "a refusal that says whom",
    `deny contains sprintf("%s may not", [input.principal.id]) if input.principal.kind == "agent"\n\nallow if { count(deny) == 0; "home" in good }`,
  ],
  [
    "the time of the question",
    `monday if time.weekday(time.parse_rfc3339_ns(input.request.time)) == "Monday"\n\nallow if { not monday; "home" in good }`,
  ],
  [
    "what an object says besides, whatever is",
    `why := "etc" if not ${FAILS}\n\nelse := concat(" ", ["fine", input.principal.id])\n\nverdict := {"allow": true, "why": why}\n\nallow if { verdict.allow; "home" in good }`,
  ],
  ["a member of what is written out", `allow if {\n\tit := {"good": good}\n\tcount(it.good) > 0\n}`],
  ["a member of what a function is given", `some_of(it) if count(it.good) > 0\n\nallow if some_of({"good": good})`],
  ["a part of what it has in common", `allow if {"home"} & good == {"home"}`],
  ["a number too low", `default level := 0\n\nlevel := 3 if ${HOME}\n\nallow if level >= 2`],
  ["a number too high", `default score := 9\n\nscore := 1 if ${HOME}\n\nallow if score < 5`],
  [
    "a limit that has a default",
    `default most := 1\n\nmost := 5 if ${HOME}\n\nallow if count(input.principal.id) <= most`,
  ],
  [
    "a default that has less",
    `default fine := set()\n\nfine := {"alice"} if ${HOME}\n\nallow if input.principal.id in fine`,
  ],
  ["null that must not be", `default why := null\n\nwhy := "x" if ${HOME}\n\nallow if why != null`],
  ["an else that is not asked for", `risk := "low" if ${HOME}\n\nelse := "high"\n\nallow if risk == "low"`],
  [
    "an else after what cannot be missing",
    `risk := "high" if input.principal.kind == "agent"\n\nelse := "low"\n\nallow if { risk == "low"; "home" in good }`,
  ],
  [
    "a negation for a value that is refused",
    `default risk := "high"\n\nrisk := "low" if "home" in good\n\nrisk := "higher" if not input.arguments.path\n\nallow if risk == "low"`,
  ],
  ["membership", `allow if (input.principal.id in good) == true`],
  [
    "membership in what is always there, denied",
    `allow if { ("guest" in input.principal.roles) == false; count(good) > 0 }`,
  ],
  [
    "a built-in that must say no",
    `allow if { startswith(input.arguments.path, "/etc") == false; endswith(input.arguments.path, "/x") }`,
  ],
  ["a member of rules or false", `allow if object.get({x: true | some x in good}, "home", false) == true`],
  ["a member of rules or nothing", `allow if count(object.get({x: [1] | some x in good}, "home", [])) > 0`],
  [
    "what the author says of an argument that is missing",
    `allow if { object.get(input.arguments, "force", false) == false; count(good) > 0 }`,
  ],
  ["some of them", `allow if count(good) > 0`],
  ["at least so many", `allow if count(good) >= 2`],
  ["as many as are needed", `needed := {"home", "alice"}\n\nallow if count(needed) == count(good & needed)`],
  ["not none", `allow if good != set()`],
  ["all that may be done", `allow if {"home"} | good == good`],
  ["a sum", `allow if sum([2 | some _ in good]) > 3`],
  ["the greatest", `allow if max([3 | some _ in good]) > 2`],
  ["a function of a collection", `many(all) if count(all) > 1\n\nallow if many(good)`],
  ["nothing needed but what is there", `allow if count({"home", "alice"} - good) == 0`],
  ["nothing needed but what is there, as a set", `allow if {"home", "alice"} - good == set()`],
  [
    "one of a difference from what is always there",
    `allow if { "home" in good - {x | some x in input.principal.roles} }`,
  ],
  ["a part of what is there", `allow if object.subset(good, {"home", "alice"})`],
  ["a text that is only there", `allow if { _ = concat(",", good); "home" in good }`],
  ["a type", `allow if { is_set(good); "home" in good }`],
  ["a key and its value", `allow if "home", true in {x: true | some x in good}`],
  ["one of what begins it", `allow if strings.any_prefix_match("home", good)`],
  ["a member of what a rule makes", `n[id] := count(good) if some id in {"alice"}\n\nallow if n.alice > 1`],
  ["an intersection", `allow if good & {"home"} != set()`],
  ["a filter by what must hold", `allow if "home" in [x | some x in ["home"]; x in good]`],
  [
    "a negation in what is made, of what is always there",
    `all := [x | some x in good; not x in {"alice"}]\n\nallow if "home" in all`,
  ],
  [
    "a negation about a tool that is there besides",
    `few contains x if {\n\tsome x in input.tool.tags\n\tx == "no"\n}\n\nallow if { count(good) > 0; input.tool.tags; count(few) == 0 }`,
  ],
  ["every one of what is needed", `allow if every x in ["home", "alice"] { x in good }`],
  [
    "every one of what is always there",
    `allow if { every role in input.principal.roles { role != "guest" }; count(good) > 0 }`,
  ],
  ["a text", `allow if concat(",", ["a", input.arguments.path]) == "a,/srv/x"`],
  ["a text by format", `allow if sprintf("%s", [input.arguments.path]) == "/srv/x"`],
  ["a text that is not empty", `allow if trim_prefix(input.arguments.path, "/srv/") == "x"`],
];
