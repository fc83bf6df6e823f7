/**
 * Rules that let a call through because something is missing; their harmless twins stand in absence-twins.ts. In all of
 * them `broken` fails where the path is not a text.
 */
export const HEAD = `package portcullis

default decision := {"allow": false}

decision := {"allow": allow, "reasons": reasons} if input.request.id

reasons contains "no annotation" if not startswith(input.arguments.why, "because")

default allow := false

allow if { input.request.operation == "tools/list" }

broken(path) if startswith(path, "/etc")

bad contains "etc" if broken(input.arguments.path)

bad contains "alice" if broken(input.arguments.path)

good contains "home" if startswith(input.arguments.path, "/srv")

good contains "alice" if startswith(input.arguments.path, "/srv")

`;

/** What it is called, and its rules. */
export type Row = readonly [name: string, rules: string];

export const FAILS = "broken(input.arguments.path)";
export const HOME = 'startswith(input.arguments.path, "/srv")';
export const RISK = `default risk := "low"\n\nrisk := "high" if ${FAILS}\n\n`;
export const SCORE = `default score := 0\n\nscore := 9 if ${FAILS}\n\n`;
export const FLAGGED = `default flagged := false\n\nflagged if ${FAILS}\n\n`;
export const TRUSTED = `default trusted := false\n\ntrusted if ${HOME}\n\n`;
export const GRADE = `default grade := "low"\n\ngrade := "high" if ${HOME}\n\n`;

/** Each lets `["/etc/passwd"]` through, and not `"/etc/passwd"`. */
export const HOLES: readonly Row[] = [
  // a default that another value is compared with
  ["a default that is asked for", `${RISK}allow if risk == "low"`],
  ["a default that is not what is refused", `${RISK}allow if risk != "high"`],
  ["a default among those asked for", `${RISK}allow if risk in {"low", "medium"}`],
  ["a default in a list of a rule", `${RISK}fine := ["low"]\n\nallow if risk in fine`],
  ["a default outside of those refused", `${RISK}allow if (risk in {"high"}) == false`],
  ["a default as a key", `${RISK}fine := {"low": true}\n\nallow if fine[risk]`],
  ["what stands at a default", `${RISK}rank := {"low": 0, "high": 9}\n\nallow if rank[risk] < 5`],
  [
    "what stands at a default, against what is not known",
    `${RISK}rank := {"low": 0, "high": 9}\n\nallow if rank[risk] <= count(input.principal.roles)`,
  ],
  ["a default as a member", `${RISK}allow if {"low", "medium"}[risk]`],
  ["a default by another name", `${RISK}allow if {\n\tit := risk\n\tit == "low"\n}`],
  ["a default given to a function", `${RISK}is_low(it) if it == "low"\n\nallow if is_low(risk)`],
  [
    "a default that is higher",
    `default most := 100\n\nmost := 2 if ${FAILS}\n\nallow if count(input.principal.id) <= most`,
  ],
  [
    "a default that has more",
    `default fine := {"alice", "bob"}\n\nfine := {"bob"} if ${FAILS}\n\nallow if input.principal.id in fine`,
  ],
  [
    "a default that has what is asked for",
    `default fine := {"x"}\n\nfine := {y | some y in input.principal.roles} if ${FAILS}\n\nallow if "x" in fine`,
  ],
  [
    "a default that has not what is refused",
    `default wrong := {"x"}\n\nwrong := input.principal.roles if ${FAILS}\n\nallow if ("analyst" in wrong) == false`,
  ],
  [
    "a default that is not among what is not known",
    `default role := "none"\n\nrole := "analyst" if ${FAILS}\n\nallow if not role in input.principal.roles`,
  ],
  ["a default in a list that is compared", `${FLAGGED}allow if [flagged, 1] == [false, 1]`],
  ["a number", `${SCORE}allow if score < 5`],
  ["a number, the other way round", `${SCORE}allow if 5 >= score`],
  ["a number against what is not known", `${SCORE}allow if score < count(input.principal.id)`],
  ["null by its type", `default why := null\n\nwhy := "x" if ${FAILS}\n\nallow if is_null(why)`],
  ["null", `default why := null\n\nwhy := "x" if ${FAILS}\n\nallow if why == null`],
  [
    "a part of an object",
    `default it := {"risk": "low"}\n\nit := {"risk": "high"} if ${FAILS}\n\nallow if it.risk == "low"`,
  ],
  ["a default of false as a key", `${FLAGGED}allow if {false: "fine"}[flagged]`],
  ["a function's default", `default f(_) := 0\n\nf(path) := 9 if broken(path)\n\nallow if f(input.arguments.path) < 5`],
  ["a test of a default, denied", `${RISK}allow if (risk == "high") == false`],
  ["a default through arithmetic", `${SCORE}allow if score + 1 < 5`],
  [
    "another variable thing that is not equal",
    `default owner := ""\n\nowner := input.principal.id if ${FAILS}\n\nallow if input.principal.id != owner`,
  ],
  // an else
  ["an else", `risk := "high" if ${FAILS}\n\nelse := "low"\n\nallow if risk == "low"`],
  ["an else of numbers", `score := 9 if ${FAILS}\n\nelse := 1\n\nallow if score < 5`],
  [
    "a function's else",
    `f(path) := "high" if broken(path)\n\nelse := "low"\n\nallow if f(input.arguments.path) == "low"`,
  ],
  [
    "an else after what is not known",
    `allow := it if {\n\tit := input.principal.kind == "agent"\n\t${FAILS}\n}\n\nelse := true`,
  ],
  // what a built-in says is denied
  ["membership, denied", `allow if (input.principal.id in bad) == false`],
  ["membership, denied, by another name", `allow if {\n\tit := input.principal.id in bad\n\tit == false\n}`],
  ["membership, not true", `allow if (input.principal.id in bad) != true`],
  ["a key's membership, denied", `allow if ("etc", true in {x: true | some x in bad}) == false`],
  ["a text of what may lack something, denied", `allow if contains(concat(",", bad), "etc") == false`],
  // object.get
  ["a member of rules or false", `allow if object.get({x: true | some x in bad}, "etc", false) == false`],
  ["a member of a rule or else", `flags["x"] := "no" if ${FAILS}\n\nallow if object.get(flags, "x", "yes") == "yes"`],
  ["a member of a rule or nothing", `flags["x"] := [1] if ${FAILS}\n\nallow if count(object.get(flags, "x", [])) == 0`],
  ["a member that a negation makes", `fine contains "x" if not ${FAILS}\n\nallow if "x" in fine`],
  // aggregates
  ["fewer than three", `allow if count(bad) < 2`],
  ["at most so many", `allow if count(bad) <= 1`],
  ["so many are more", `allow if 2 > count(bad)`],
  ["exactly so many", `allow if count(bad) != 2`],
  ["one that others took away", `allow if count({"home"} | bad) == 1`],
  ["not any", `allow if not count(bad) > 0`],
  ["a sum", `allow if sum([2 | some _ in bad]) <= 3`],
  ["a product", `allow if product([2 | some _ in bad]) < 4`],
  ["the greatest", `allow if max([x | some x in array.concat([1], [9 | some _ in bad])]) < 5`],
  ["the least, of what may lack it", `allow if min([x | some x in array.concat([7], [1 | some _ in bad])]) > 5`],
  ["a count in a rule", `n := count(bad)\n\nallow if n < 2`],
  ["what is left of a number", `allow if 3 - count(bad) > 2`],
  ["a function of a collection", `few(all) if count(all) < 2\n\nallow if few(bad)`],
  ["a function of a function", `few(all) if count(all) < 2\n\nok(all) if few(all)\n\nallow if ok(bad)`],
  ["a member of what a rule makes", `n[id] := count(bad) if some id in {"alice"}\n\nallow if n.alice < 2`],
  ["a part of what is larger", `allow if object.subset({"home", "alice"}, bad)`],
  ["a part, denied", `allow if object.subset(bad, {"etc"}) == false`],
  ["one of what begins it, not true", `allow if strings.any_prefix_match("alice", bad) != true`],
  ["a quotient", `allow if 4 / (1 + count(bad)) > 3`],
  ["what a function makes", `f(path) := {1 | broken(path)}\n\nallow if count(f(input.arguments.path)) == 0`],
  // what is taken away
  ["a difference", `allow if "alice" in ({"alice"} - bad)`],
  ["one of a difference", `allow if {\n\tsome it in {"alice"} - bad\n\tit == "alice"\n}`],
  ["a difference that is not empty", `allow if count({"alice"} - bad) > 0`],
  ["a difference that is all", `allow if {"alice"} - bad == {"alice"}`],
  ["a difference in a rule", `rest := {"alice"} - bad\n\nallow if "alice" in rest`],
  ["object.remove", `allow if object.remove({"alice": true}, bad).alice`],
  ["json.remove", `allow if json.remove({"alice": true}, bad).alice`],
  [
    "object.union, where what comes second overrides",
    `allow if object.union({"alice": true}, {x: false | some x in bad}).alice`,
  ],
  ["a filter", `allow if "alice" in [x | some x in ["alice"]; not x in bad]`],
  ["a filter by what is denied", `allow if "alice" in [x | some x in ["alice"]; (x in bad) == false]`],
  // texts, and constants
  ["a text of nothing", `allow if concat(",", bad) == ""`],
  ["a text by format", `allow if sprintf("%v", [bad]) == "set()"`],
  ["a text as JSON", `allow if json.marshal(bad) == "[]"`],
  ["a collection that is compared", `allow if {"home"} | bad == {"home"}`],
  ["an intersection", `allow if {"alice"} & bad == set()`],
  [
    "two that functions make",
    `f(path) := {1 | broken(path)}\n\ng(path) := {2 | broken(path)}\n\nallow if f(input.arguments.path) == g(input.arguments.path)`,
  ],
  ["a collection that is not another that is made", `allow if bad != {x | some x in ["etc", "alice"]}`],
  [
    "two that may both be empty",
    `worse contains "etc" if ${FAILS}\n\nworse contains "more" if endswith(input.arguments.path, "passwd")\n\nallow if bad == worse`,
  ],
  ["an array that is compared", `allow if [1 | some _ in bad] == []`],
  ["a collection that is not another", `allow if bad != {"etc", "alice"}`],
  // negations
  ["a default, not among those refused", `${RISK}allow if not risk in {"high"}`],
  ["a number that is not above", `${SCORE}allow if not score > 5`],
  [
    "a function of a default that is not so",
    `default fine := {"b"}\n\nfine := {"alice", "b"} if ${FAILS}\n\nf(all) if "alice" in all\n\nallow if not f(fine)`,
  ],
  [
    "what a negation compares, made by a function",
    `f(path) := "ok" if not broken(path)\n\nallow if {\n\tx := f(input.arguments.path)\n\tnot x == "bad"\n}`,
  ],
  [
    "what a function needs that says something else",
    `f(path) := 3 if not broken(path)\n\nallow if f(input.arguments.path) < 5`,
  ],
  [
    "a rule that is only there",
    `f(path) := 3 if not broken(path)\n\nallow if {\n\tx := f(input.arguments.path)\n\ty := [x]\n\tcount(y) == 1\n}`,
  ],
  // every
  ["every one of a comprehension", `allow if every x in [x | some x in bad] { x == "none" }`],
  ["every one of a list of collections", `allow if every all in [bad] { count(all) == 0 }`],
  ["one of a list of collections", `allow if {\n\tsome all in [bad]\n\tcount(all) == 0\n}`],
  ["every one of what a rule makes", `all := [x | some x in bad]\n\nallow if every x in all { x == "none" }`],
  ["what may be missing within every one", `allow if every x in ["alice"] { (x in bad) == false }`],
  // a member of something
  ["a member of what is written out", `allow if {\n\tit := {"bad": bad}\n\tcount(it.bad) == 0\n}`],
  ["a member of a member", `allow if {\n\tit := [[bad]]\n\tcount(it[0][0]) == 0\n}`],
  [
    "a member of a rule by another name",
    `report := {"bad": bad}\n\nallow if {\n\tit := report\n\tcount(it.bad) == 0\n}`,
  ],
  ["one of the collections of a rule", `all := [bad]\n\nallow if {\n\tsome one in all\n\tone == set()\n}`],
  ["a value of an object", `allow if {\n\tsome key, one in {"bad": bad}\n\tkey != ""\n\tcount(one) == 0\n}`],
  ["a member of what a function is given", `clean(it) if count(it.bad) == 0\n\nallow if clean({"bad": bad})`],
  [
    "one of what a function is given",
    `clean(all) if {\n\tsome one in all\n\tcount(one) == 0\n}\n\nallow if clean([bad])`,
  ],
  ["what a function takes apart", `clean([it, _]) if count(it) == 0\n\nallow if clean([bad, 1])`],
  [
    "what a function gives to another",
    `none(it) if count(it.bad) == 0\n\nclean(it) if none(it.all)\n\nallow if clean({"all": {"bad": bad}})`,
  ],
  ["a member of what a function gives", `f(path) := {"bad": bad, "path": path}\n\nallow if count(f("").bad) == 0`],
  [
    "a member of what a set has",
    `reports contains {"n": count(bad)}\n\nallow if {\n\tsome one in reports\n\tone.n == 0\n}`,
  ],
  ["a member of a comprehension", `allow if {\n\tit := {key: n | some key in ["a"]; n := count(bad)}\n\tit.a == 0\n}`],
  ["a member or else another", `it := {"bad": bad}\n\nallow if count(object.get(it, "bad", {"x"})) == 0`],
  [
    "the greatest, sorted",
    `allow if {\n\tit := sort(array.concat([1], [9 | some _ in bad]))\n\tit[count(it) - 1] < 5\n}`,
  ],
  // what must be there, and what stands for it
  [
    "what an object says besides",
    `why := "clean" if not ${FAILS}\n\nverdict := {"allow": true, "why": why}\n\nallow if verdict.allow`,
  ],
  [
    "one of several rules, of which another is true by default",
    `default checks.a := true\n\nchecks.a := false if input.principal.id == "alice"\n\nchecks.b if ${FAILS}\n\nallow if count([1 | checks[_] == true]) == 0`,
  ],
  ["a part of what it has in common", `allow if bad & {"waived"} == bad`],
  ["a part of what both have", `allow if {"waived"} | bad == {"waived"}`],
  [
    "what is put in its place",
    `clean if input.arguments.n == 0\n\nallow if clean with input.arguments.n as count(bad)`,
  ],
  [
    "what is there in another input",
    `evil if input.arguments.path == "/etc/passwd"\n\nallow if {\n\tis_array(input.arguments.path)\n\tnot evil with input.arguments as {}\n}`,
  ],
  // a text elsewhere
  [
    "a text within every one of none",
    `allow if {\n\tevery x in input.tool.tags { startswith(input.arguments.path, x) }\n\tnot ${FAILS}\n}`,
  ],
  [
    "a text of another",
    `allow if {\n\tis_string(input.principal.id)\n\tnot startswith(input.arguments.path, "/etc")\n}`,
  ],
  [
    "a pattern that is none",
    `allow if {\n\tit := lower(input.request.id)\n\tnot regex.match("(", it)\n\tnot ${FAILS}\n}`,
  ],
];
