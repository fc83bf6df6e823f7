/**
 * Rules that let a call through because something is missing, and their harmless twins. In all of them `broken` fails
 * where the path is not a text.
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

const FAILS = "broken(input.arguments.path)";
const HOME = 'startswith(input.arguments.path, "/srv")';
const RISK = `default risk := "low"\n\nrisk := "high" if ${FAILS}\n\n`;
const SCORE = `default score := 0\n\nscore := 9 if ${FAILS}\n\n`;
const FLAGGED = `default flagged := false\n\nflagged if ${FAILS}\n\n`;
const TRUSTED = `default trusted := false\n\ntrusted if ${HOME}\n\n`;
const GRADE = `default grade := "low"\n\ngrade := "high" if ${HOME}\n\n`;

/** Each lets `["/etc/passwd"]` through, and not `"/etc/passwd"`. */
export const HOLES: readonly (readonly [string, string])[] = [
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

/** Each lets `"/srv/x"` through, and neither `["/etc/passwd"]` nor `"/etc/passwd"`. */
export const TWINS: readonly (readonly [string, string])[] = [
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
