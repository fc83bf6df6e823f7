/**
 * Rules that let a call through because the one that would have been chosen is missing, and their harmless twins:
 * what overrides, what comes first, what is greatest, and defaults within texts.
 */
import { FAILS, GRADE, HOME, RISK, TRUSTED, type Row } from "./absence.ts";

/** Each lets `["/etc/passwd"]` through, and not `"/etc/passwd"`. */
export const HOLES: readonly Row[] = [
  ["the greatest number of a set of rules", `counts contains count(bad)\n\nallow if max(counts) < 2`],
  ["a number in a union", `allow if 0 in ({count(bad)} | {7})`],
  [
    "what a default is looked up by",
    `${RISK}need := {"low": "analyst", "high": "admin"}\n\nallow if need[risk] in input.principal.roles`,
  ],
  [
    "what a default is looked up by, against what varies",
    `${RISK}need := {"low": "analyst", "high": "admin"}\n\nallow if input.principal.roles[0] == need[risk]`,
  ],
  [
    "what a default needs",
    `default need := "analyst"\n\nneed := "admin" if ${FAILS}\n\nallow if need in input.principal.roles`,
  ],
  ["a default that is looked up or else", `${RISK}allow if object.get({"high": "deny"}, risk, "allow") == "allow"`],
  [
    "an override by default",
    `default org := {}\n\norg := {"effect": "deny"} if count(bad) > 0\n\nallow if object.union_n([{"effect": "allow"}, org]).effect == "allow"`,
  ],
  [
    "an override by default, in a rule",
    `default org := {}\n\norg := {"effect": "deny"} if count(bad) > 0\n\nall := object.union_n([{"effect": "allow"}, org])\n\nallow if all.effect == "allow"`,
  ],
  [
    "an override by default, of two",
    `default org := {}\n\norg := {"allow": false} if count(bad) > 0\n\nallow if object.union({"allow": true}, org).allow`,
  ],
  [
    "an override by default of what a rule says",
    `default org := {}\n\norg := {"allow": false} if count(bad) > 0\n\nmerged := object.union({"allow": true}, org)\n\nallow if merged.allow`,
  ],
  [
    "an override, taken apart",
    `default org := {}\n\norg := {"allow": false} if count(bad) > 0\n\nallow if {\n\t{"allow": it} := object.union({"allow": true}, org)\n\tit\n}`,
  ],
  [
    "the highest priority",
    `hits contains {"p": 1, "effect": "allow"}\n\nhits contains {"p": 9, "effect": "deny"} if count(bad) > 0\n\ntop := max([h.p | some h in hits])\n\nallow if {\n\tsome h in hits\n\th.p == top\n\th.effect == "allow"\n}`,
  ],
  [
    "the first verdict",
    `verdict := array.concat([{"allow": false} | some _ in bad], [{"allow": true}])[0]\n\nallow if verdict.allow`,
  ],
  ["the first verdict, in the body", `allow if array.concat([false | some _ in bad], [true])[0]`],
  [
    "the first verdict of a list",
    `verdicts := array.concat([{"allow": false} | some _ in bad], [{"allow": true}])\n\nallow if verdicts[0].allow`,
  ],
  [
    "the first of a comprehension",
    `hits := [{"of": "etc", "ok": false}, {"of": "", "ok": true}]\n\nhit(h) if h.of == ""\n\nhit(h) if h.of in bad\n\nallow if [h | some h in hits; hit(h)][0].ok`,
  ],
  [
    "the only one",
    `hits := array.concat(["fine"], [x | some x in bad])\n\nallow if {\n\t[it] = hits\n\tit == "fine"\n}`,
  ],
  ["a default that begins so", `${RISK}allow if startswith(risk, "l")`],
  ["a default in a text", `${RISK}allow if concat("-", ["risk", risk]) == "risk-low"`],
  ["a default in a text that is formatted", `${RISK}allow if sprintf("%s!", [upper(risk)]) == "LOW!"`],
  [
    "a default in a text that varies",
    `${RISK}allow if concat("", [risk, input.principal.id]) in {"lowalice", "lowbob"}`,
  ],
  [
    "the last verdict",
    `verdicts := array.concat([true], [false | some _ in bad])\n\nallow if verdicts[count(verdicts) - 1]`,
  ],
  [
    "the last verdict in a function",
    `verdicts := array.concat([true], [false | some _ in bad])\n\npick(i) := verdicts[i]\n\nallow if pick(count(verdicts) - 1)`,
  ],
  [
    "a verdict that a function picks",
    `verdicts := array.concat([false | some _ in bad], [true])\n\npick(i) := verdicts[i]\n\nallow if pick(0)`,
  ],
  [
    "a function picks of what it is given",
    `pick(all, i) if all[i]\n\nallow if pick(array.concat([false | some _ in bad], [true]), 0)`,
  ],
  ["a default in a set in common", `${RISK}allow if count({risk} & {"low"}) > 0`],
  ["a default in a set in common, compared", `${RISK}allow if {risk} & {"low"} != set()`],
  ["a text by template", `${RISK}allow if $"is {risk}" == "is low"`],
  [
    "the sorted first",
    `hits contains ["1", true] \n\nhits contains ["0", false] if count(bad) > 0\n\nallow if sort(hits)[0][1]`,
  ],
  [
    "a default within every one of a rule",
    `${RISK}all := {"risk": risk}\n\nallow if every _, r in all { r != "high" }`,
  ],
  ["an object with a key by default", `${RISK}o := {risk: "allow"}\n\nallow if o.low == "allow"`],
  ["a default removed", `${RISK}allow if object.remove({"high": 1, "low": 2}, [risk]) == {"high": 1}`],
  ["a filter by default", `${RISK}allow if object.filter({"low": true, "high": false}, [risk]).low`],
  [
    "an override by a rule of parts",
    `org["allow"] := false if count(bad) > 0\n\nallow if object.union({"allow": true}, org).allow`,
  ],
  [
    "a union of unions",
    `default org := {}\n\norg := {"allow": false} if count(bad) > 0\n\nallow if object.union(object.union({"allow": true}, org), {"x": 1}).allow`,
  ],
  [
    "an override by else",
    `org := {"allow": false} if { count(bad) > 0 } else := {}\n\nallow if object.union({"allow": true}, org).allow`,
  ],
  [
    "an override of a part",
    `default org := {}\n\norg := {"it": {"allow": false}} if count(bad) > 0\n\nallow if object.union({"it": {"allow": true}}, org).it.allow`,
  ],
  [
    "an object patched",
    `default ops := []\n\nops := [{"op": "replace", "path": "/allow", "value": false}] if count(bad) > 0\n\nallow if json.patch({"allow": true}, ops).allow`,
  ],
  [
    "the greatest by a rule, compared with what varies",
    `ranks contains 3\n\nranks contains 9 if count(bad) > 0\n\nwanted := count([1, 2, input.principal.id])\n\nallow if max(ranks) == wanted`,
  ],
  [
    "a sum that varies",
    `points contains 5\n\npoints contains 7 if count(bad) > 0\n\nallow if sum(points) == count(input.principal.id)`,
  ],
  ["a default by a pattern", `${RISK}allow if regex.match("^l", risk)`],
  ["a default by a glob", `${RISK}allow if glob.match("l*", [], risk)`],
  [
    "a default by a glob that data has",
    `${RISK}globs := ["l*", "m*"]\n\nallow if { some g in globs; glob.match(g, [], risk) }`,
  ],
  ["a default of what input has", `${RISK}allow if input.principal[{"low": "id", "high": "nothing"}[risk]]`],
  [
    "first decision wins",
    `verdict := array.concat([{"allow": false} | some _ in bad], [{"allow": true}])[0]\n\nchosen := verdict\n\nallow if chosen.allow`,
  ],
  [
    "first decision wins, by a function",
    `first(all) := all[0]\n\nallow if first(array.concat([{"allow": false} | some _ in bad], [{"allow": true}])).allow`,
  ],
  ["the greatest in a set", `allow if max({n | some x in bad; n := count(x)} | {0}) in {0}`],
  [
    "an override of three",
    `default org := {}\n\norg := {"effect": "deny"} if count(bad) > 0\n\nallow if object.union_n([{"effect": "x"}, {"effect": "allow"}, org]).effect == "allow"`,
  ],
  [
    "an override given to a function",
    `default org := {}\n\norg := {"effect": "deny"} if count(bad) > 0\n\nmerge(a, b) := object.union(a, b)\n\nallow if merge({"effect": "allow"}, org).effect == "allow"`,
  ],
  [
    "an override, not refused",
    `default org := {}\n\norg := {"effect": "deny"} if count(bad) > 0\n\nallow if object.union({"effect": "allow"}, org).effect != "deny"`,
  ],
  ["a default in an array", `${RISK}all := [risk]\n\nallow if all == ["low"]`],
  ["a default in a set", `${RISK}all := {risk, "x"}\n\nallow if "low" in all`],
  ["a default in a set of rules", `${RISK}all contains risk\n\nallow if all == {"low"}`],
  ["a default in a set of rules, has", `${RISK}all contains risk\n\nallow if "low" in all`],
  ["a default in a comprehension", `${RISK}allow if "low" in [r | some r in [risk]]`],
  ["the only one of a comprehension", `allow if {\n\t[n] = [n | n := count(bad)]\n\tn == 0\n}`],
  [
    "a union of what others say before",
    `default org := {}\n\norg := {"effect": "deny"} if { input.arguments.path; count(bad) > 0 }\n\nallow if object.union_n([{"effect": "allow"}, {"x": 1}, org]).effect == "allow"`,
  ],
  [
    "an early one of a list of checks",
    `verdicts := array.concat([false | some _ in bad], [true])\n\nallow if {\n\tsome i, c in verdicts\n\ti < 1\n\tc\n}`,
  ],
  [
    "an early one of a list that is made",
    `hits := [{"of": "etc", "ok": false}, {"of": "", "ok": true}]\n\nhit(h) if h.of == ""\n\nhit(h) if h.of in bad\n\nallow if {\n\tfirst := [h | some h in hits; hit(h)]\n\tsome i, h in first\n\ti < 1\n\th.ok\n}`,
  ],
  ["the greatest of what is left", `left contains 3 - count(bad)\n\nallow if max(left) > 2`],
  [
    "an override by default of what is not there",
    `default org := {}\n\norg := {"allow": false} if input.arguments.path == "/etc/passwd"\n\nallow if object.union_n([{"allow": true}, {"x": 1}, org]).allow`,
  ],
  ["a list of only one", `hits := array.concat(["fine"], [x | some x in bad])\n\nallow if [_] = hits`],
  ["an override that is written out", `allow if object.union({"allow": false}, {"allow": count(bad) == 0}).allow`],
];

/** Each lets `"/srv/x"` through, and neither `["/etc/passwd"]` nor `"/etc/passwd"`. */
export const TWINS: readonly Row[] = [
  [
    "every one of a map of checks that default to false",
    `${TRUSTED}checks := {"a": trusted, "b": "home" in good}\n\nallow if every _, c in checks { c }`,
  ],
  ["a default among those that a set has", `${GRADE}allow if "high" in {grade, "x"}`],
  ["a constant parameter that a default is not", `${GRADE}fine("high")\n\nallow if fine(grade)`],
  [
    "what is looked up by a default or else",
    `${GRADE}allow if object.get({"high": "allow"}, grade, "deny") == "allow"`,
  ],
  [
    "a default that needs nobody",
    `default owner := ""\n\nowner := input.principal.id if ${HOME}\n\nallow if input.principal.id == owner`,
  ],
  [
    "an override that lets through",
    `default org := {}\n\norg := {"allow": true} if ${HOME}\n\nallow if object.union({"allow": false}, org).allow`,
  ],
  [
    "an override that lets through, of several",
    `default org := {}\n\norg := {"effect": "allow"} if count(good) > 0\n\nallow if object.union_n([{"effect": "deny"}, org]).effect == "allow"`,
  ],
  [
    "an override of something else",
    `default org := {}\n\norg := {"tag": "etc"} if ${FAILS}\n\nall := object.union({"allow": count(good) > 0, "tag": "x"}, org)\n\nallow if all.allow`,
  ],
  [
    "an override of something else that varies",
    `default org := {}\n\norg := {"tag": input.arguments.path} if ${FAILS}\n\nall := object.union({"allow": count(good) > 0, "tag": "x"}, org)\n\nallow if all.allow`,
  ],
  [
    "the highest priority of what is always there",
    `hits contains {"p": 1, "effect": "deny"}\n\nhits contains {"p": 9, "effect": "allow"} if input.principal.kind == "user"\n\ntop := max([h.p | some h in hits])\n\nallow if {\n\tsome h in hits\n\th.p == top\n\th.effect == "allow"\n\t"home" in good\n}`,
  ],
  [
    "what a text is taken apart into",
    `allow if {\n\t[_, top, _] := split(input.arguments.path, "/")\n\ttop == "srv"\n}`,
  ],
  ["a default that does not begin so", `${GRADE}allow if startswith(grade, "h")`],
  ["a default that is not in a text", `${GRADE}allow if concat("-", ["grade", grade]) == "grade-high"`],
  ["a default that is not in a text by format", `${GRADE}allow if sprintf("%s!", [upper(grade)]) == "HIGH!"`],
  ["what a function picks", `verdicts := [${HOME}, true]\n\npick(i) := verdicts[i]\n\nallow if pick(0)`],
  [
    "reasons beside",
    `why := {0: "none", 2: "many"}[count(good)]\n\nverdict := {"allow": "home" in good, "why": why}\n\nallow if verdict.allow`,
  ],
  [
    "a function of a kind",
    `kind("tool") := "use"\n\nkind("calls") := "read"\n\nallow if { kind(input.target.kind) == "use"; "home" in good }`,
  ],
  ["a text of tenants", `allow if { concat(":", ["x", input.principal.tenant]) == "x:default"; "home" in good }`],
  [
    "a lookup by role",
    `needs := {"notes__read": {"analyst", "admin"}}\n\nallow if { some role in input.principal.roles; role in needs[input.target.name]; "home" in good }`,
  ],
  [
    "a lookup by role or none",
    `needs := {"notes__read": ["analyst"]}\n\nallow if { some role in object.get(needs, input.target.name, []); role in input.principal.roles; "home" in good }`,
  ],
  [
    "a level that must do",
    `default level := "none"\n\nlevel := "high" if ${HOME}\n\nrank := {"none": 0, "high": 3}\n\nneed := {"notes__read": 2}\n\nallow if rank[level] >= need[input.target.name]`,
  ],
  [
    "an override of a part by proof",
    `default org := {}\n\norg := {"it": {"allow": true}} if count(good) > 0\n\nallow if object.union({"it": {"allow": false}}, org).it.allow`,
  ],
  [
    "obligations in a union",
    `default more := {}\n\nmore := {"obligations": {"x": 1}} if ${FAILS}\n\nverdict := object.union({"allow": "home" in good, "reasons": []}, more)\n\nallow if verdict.allow`,
  ],
  [
    "a base that has nothing by default",
    `default base := {}\n\nbase := {"allow": true} if ${HOME}\n\nbase := {"allow": false} if ${FAILS}\n\nallow if object.union(base, {"x": 1}).allow`,
  ],
  ["an override that is written out", `allow if object.union({"allow": "home" in good}, {"n": count(bad)}).allow`],
  [
    "a default of what is not there",
    `default who := "analyst"\n\nwho := input.arguments.who\n\nallow if { who in input.principal.roles; "home" in good }`,
  ],
  [
    "a default that a built-in fails for",
    `default n := "none"\n\nn := "4" if ${HOME}\n\nn := "1" if ${FAILS}\n\nallow if to_number(n) > 3`,
  ],
  [
    "a filter by default",
    `${GRADE}grade := "higher" if ${FAILS}\n\nallow if object.filter({"high": "x"}, [grade]).high == "x"`,
  ],
  [
    "an override that lets through, and says who",
    `default org := {}\n\norg := {"allow": true, "by": input.principal.id} if ${HOME}\n\nallow if object.union({"allow": input.principal.kind == "agent"}, org).allow`,
  ],
];
