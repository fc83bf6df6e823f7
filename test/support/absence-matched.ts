/**
 * Rules that let a call through because what is matched lacks something, and their harmless twins: checks in lists,
 * members, constants in the heads of functions, lookups, and what is taken apart.
 */
import { FLAGGED, GRADE, HOME, RISK, TRUSTED, type Row } from "./absence.ts";

/** Each lets `["/etc/passwd"]` through, and not `"/etc/passwd"`. */
export const HOLES: readonly Row[] = [
  [
    "every one of a map of checks",
    `checks := {"a": count(bad) == 0, "b": true}\n\nallow if every _, c in checks { c }`,
  ],
  ["every one of a list of checks", `checks := [count(bad) == 0, true]\n\nallow if every c in checks { c }`],
  ["every one of a map of checks in the body", `allow if every _, c in {"a": count(bad) == 0} { c }`],
  ["every one of checks that rules make", `checks["a"] := count(bad) == 0\n\nallow if every _, c in checks { c }`],
  ["no check that is false", `checks := {"a": count(bad) == 0, "b": true}\n\nallow if not false in checks`],
  [
    "no check that is false, denied",
    `checks := {"a": count(bad) == 0, "b": true}\n\nallow if (false in checks) == false`,
  ],
  [
    "no check that is false, filtered",
    `checks := {"a": count(bad) == 0, "b": true}\n\nallow if count([c | some c in checks; c == false]) == 0`,
  ],
  [
    "checks that are all the same, in the body",
    `allow if {\n\tchecks := [count(bad) == 0, true]\n\tcount({c | some c in checks}) == 1\n}`,
  ],
  [
    "checks of which fewer than two differ",
    `allow if {\n\tchecks := [count(bad) == 0, true]\n\tcount({c | some c in checks}) < 2\n}`,
  ],
  ["what a set has", `${FLAGGED}allow if false in {flagged}`],
  ["what an object has", `${FLAGGED}allow if "a", false in {"a": flagged}`],
  ["a number among some", `allow if count(bad) in {0}`],
  ["a number among some of a rule", `fine := [0, 1]\n\nallow if count(bad) in fine`],
  ["a number among those of a comprehension", `allow if count(bad) in {n | some n in [0, 1]}`],
  ["a number as a member", `allow if {0, 1}[count(bad)]`],
  ["a number that a set is made of", `allow if 0 in {count(bad)}`],
  ["a number that a rule's set is made of", `counts contains count(bad)\n\nallow if 0 in counts`],
  ["a number that a comprehension is made of", `allow if 0 in [n | n := count(bad)]`],
  ["a number taken out of a set", `allow if every n in {n | n := count(bad)} { n < 2 }`],
  ["a number that is a key among some", `allow if count(bad), "allow" in {0: "allow", 2: "deny"}`],
  ["a number that a set has there", `allow if {\n\tcounts := {count(bad)}\n\tcounts[0]\n}`],
  ["a number that a set that is made has there", `allow if {\n\tcounts := {n | n := count(bad)}\n\tcounts[0]\n}`],
  ["one of a set that is made", `allow if {\n\tsome n in {n | n := count(bad)}\n\tn == 0\n}`],
  ["a number that is a key of what is made", `allow if {\n\tit := {n: true | n := count(bad)}\n\tit[0]\n}`],
  ["a constant parameter", `zero(0)\n\nallow if zero(count(bad))`],
  [
    "a constant parameter, its value asked",
    `grade(0) := "fine"\n\ngrade(n) := "bad" if n > 0\n\nallow if grade(count(bad)) == "fine"`,
  ],
  ["a constant parameter, of its value asked", `grade(0) := {"ok": true}\n\nallow if grade(count(bad)).ok`],
  ["an empty set as a parameter", `empty(set())\n\nallow if empty(bad)`],
  ["a constant within a parameter", `none({"n": 0, "of": _})\n\nallow if none({"n": count(bad), "of": "x"})`],
  ["a constant parameter of a function of a function", `zero(0)\n\nnone(n) if zero(n)\n\nallow if none(count(bad))`],
  [
    "a constant parameter that refuses",
    `default fine(_) := {"ok": true}\n\nfine(2) := {"ok": false}\n\nallow if fine(count(bad)).ok`,
  ],
  ["a number that is looked up", `allow if {0: "allow"}[count(bad)] == "allow"`],
  [
    "a number that is looked up in a rule",
    `effects := ["allow", "deny", "deny"]\n\nallow if effects[count(bad)] == "allow"`,
  ],
  ["a number that is looked up, true", `effects := [true, false, false]\n\nallow if effects[count(bad)]`],
  [
    "a number that is looked up in rules of parts",
    `effects[0] := "allow"\n\neffects[2] := "deny"\n\nallow if effects[count(bad)] == "allow"`,
  ],
  ["a number that is looked up or else", `allow if object.get({2: "deny"}, count(bad), "allow") == "allow"`],
  ["a number that is a key", `effects := {count(bad): "allow"}\n\nallow if effects[0] == "allow"`],
  ["a number that is a key of a rule", `effects[n] := "allow" if n := count(bad)\n\nallow if effects[0] == "allow"`],
  ["what an array is taken apart into", `allow if {\n\t[x, _] := [count(bad), 1]\n\tx == 0\n}`],
  ["what an object is taken apart into", `s := {"n": count(bad)}\n\nallow if {\n\t{"n": n} := s\n\tn == 0\n}`],
  ["a constant that an array is matched with", `s := [count(bad), 1]\n\nallow if [0, _] = s`],
  ["a constant that an object is matched with", `s := {"n": count(bad), "m": 1}\n\nallow if {"n": 0, "m": _} = s`],
  ["what members are taken apart into", `all := [["a", count(bad)]]\n\nallow if {\n\tsome [_, n] in all\n\tn < 2\n}`],
  ["a rule's set at a number", `counts contains count(bad)\n\nallow if counts[0]`],
  ["an object", `allow if {"n": count(bad)} == {"n": 0}`],
  [
    "all hits allow",
    `hits contains {"e": "allow", "p": 1}\n\nhits contains {"e": "deny", "p": 2} if count(bad) > 0\n\nallow if count(hits) == count([h | some h in hits; h.e == "allow"])`,
  ],
  ["checks in a set of results", `results := {r | some n in [count(bad)]; r := n == 0}\n\nallow if results == {true}`],
  [
    "a map of effects by a number",
    `effects := {"zero": "allow", "some": "deny"}\n\nkind(0) := "zero"\n\nkind(n) := "some" if n > 0\n\nallow if effects[kind(count(bad))] == "allow"`,
  ],
  ["a function twice the same", `same(x, x)\n\nallow if same(count(bad), 0)`],
  ["checks that are all the same", `checks := [count(bad) == 0, true]\n\nallow if count({c | some c in checks}) == 1`],
  ["a function of a constant denied", `${RISK}is_bad("high")\n\nallow if not is_bad(risk)`],
  [
    "a function of a constant, false",
    `${RISK}default is_bad(_) := false\n\nis_bad("high") := true\n\nallow if is_bad(risk) == false`,
  ],
  [
    "a check by another key than",
    `checks := {"a": true, "b": count(bad) == 0}\n\nallow if {\n\tsome k, c in checks\n\tnot k == "a"\n\tc\n}`,
  ],
  [
    "every check by another key",
    `checks := {"a": true, "b": count(bad) == 0}\n\nfine(k, _) if k == "a"\n\nfine(_, c) if c\n\nallow if {\n\tevery k, c in checks { fine(k, c) }\n}`,
  ],
  [
    "every check, whose key a comprehension compares",
    `checks := {"a": true, "b": count(bad) == 0}\n\nallow if {\n\tevery k, c in checks { count([1 | k == "a"]) < 2; c }\n}`,
  ],
  ["a function of two the same, of members", `same({"a": x}, x)\n\nallow if same({"a": count(bad)}, 0)`],
  [
    "every one of two lists of checks",
    `checks := [count(bad) == 0]\n\nallow if every c in array.concat(checks, [true]) { c }`,
  ],
  ["one of a sorted list", `allow if {\n\tsome n in sort([count(bad)])\n\tn < 2\n}`],
  [
    "one of what is left of a list",
    `allow if {\n\tsome n in array.slice(array.concat([x | some x in bad], ["fine", "x", "y"]), 0, 1)\n\tn == "fine"\n}`,
  ],
];

/** Each lets `"/srv/x"` through, and neither `["/etc/passwd"]` nor `"/etc/passwd"`. */
export const TWINS: readonly Row[] = [
  [
    "every one of a map of checks",
    `checks := {"a": count(good) > 0, "b": true}\n\nallow if every _, c in checks { c }`,
  ],
  ["every one of a list of checks", `${TRUSTED}checks := [trusted, true]\n\nallow if every c in checks { c }`],
  [
    "no check that is false",
    `${TRUSTED}checks := {"a": count(good) > 0, "b": trusted}\n\nallow if not false in checks`,
  ],
  ["a check among some", `allow if true in [count(good) > 0]`],
  ["what a set has", `${TRUSTED}allow if true in {trusted}`],
  ["what a set has not", `${GRADE}allow if not "low" in {grade}`],
  ["a number among those that rules make", `n contains 3 if ${HOME}\n\nallow if 3 in n`],
  ["a member of what is known", `allow if { some x in good; x in {"home"} }`],
  ["a constant parameter", `fine("home")\n\nallow if { some x in good; fine(x) }`],
  [
    "a constant parameter of what is always there",
    `fine("alice")\n\nallow if { fine(input.principal.id); "home" in good }`,
  ],
  ["a constant parameter that is true", `fine(true)\n\nallow if fine(count(good) > 1)`],
  [
    "what is looked up by a member",
    `effects := {"home": "allow"}\n\nallow if { some x in good; effects[x] == "allow" }`,
  ],
  ["what is looked up by a check", `allow if {true: "allow", false: "deny"}[count(good) > 0] == "allow"`],
  [
    "what is looked up by what is always there",
    `need := {"user": "analyst", "agent": "admin"}\n\nallow if { need[input.principal.kind] in input.principal.roles; "home" in good }`,
  ],
  ["one of a concatenation", `allow if "home" in array.concat(["x"], [x | some x in good])`],
  ["what an array is taken apart into", `allow if {\n\t[x, _] := [count(good), 1]\n\tx > 0\n}`],
  ["what an object is taken apart into", `s := {"n": count(good)}\n\nallow if {\n\t{"n": n} := s\n\tn > 0\n}`],
  ["a count in common", `allow if count(good & {"home", "x"}) > 0`],
  ["checks counted", `checks := [count(good) > 0, true]\n\nallow if count([c | some c in checks; c]) == count(checks)`],
  [
    "an object with what is proved",
    `report := {"n": count(good), "of": lower(input.principal.id)}\n\nallow if { report.n > 1; report.of == "alice" }`,
  ],
  [
    "every one by its key",
    `fine := {"path": true}\n\nallow if { every name, _ in input.arguments { fine[name] }; "home" in good }`,
  ],
  [
    "taken apart in some",
    `pairs := [["analyst", "home"]]\n\nallow if { some [role, word] in pairs; role in input.principal.roles; word in good }`,
  ],
  [
    "a check by its key",
    `checks := {"a": count(bad) == 0, "b": count(good) > 0}\n\nallow if {\n\tsome k, c in checks\n\tk == "b"\n\tc\n}`,
  ],
  [
    "every one of two lists of checks",
    `${TRUSTED}checks := [count(good) > 0]\n\nallow if every c in array.concat(checks, [trusted]) { c }`,
  ],
  ["one of two sets", `allow if {\n\tsome x in good | {"x"}\n\tx == "home"\n}`],
  [
    "one of a list that may lack some",
    `allow if {\n\tsome n in array.concat([1], [count(x) | some x in good])\n\tn == 4\n}`,
  ],
];
