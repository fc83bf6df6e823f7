/**
 * The promise: whatever grants because something is missing is found, and nothing else is. Each hole is shown to be
 * one in the engine: a path that is no text makes a built-in fail, and the call is let through. Each twin, written so
 * that the same failure denies, is left alone.
 */
import { beforeAll, describe, expect, test } from "vitest";
import type { Json } from "../src/model.ts";
import { sourcesOf } from "../src/policy/bundle.ts";
import type { Finding } from "../src/policy/compiler.ts";
import { createEngine, type Engine } from "../src/policy/engine.ts";
import { LINTS } from "../src/policy/lint.ts";
import { textsOf } from "../src/policy/sources.ts";
import * as chosen from "./support/absence-chosen.ts";
import * as matched from "./support/absence-matched.ts";
import { TWINS } from "./support/absence-twins.ts";
import * as usual from "./support/absence-usual.ts";
import { HEAD, HOLES } from "./support/absence.ts";
import { item, policyBench, principal, request } from "./support/policy.ts";

const LISTED = "data.listed[input.principal.id]";

/** Each lets alice through where `data.listed` lacks her, and only there. */
const UNLISTED: readonly (readonly [string, string])[] = [
  ["what is not there", `allow if not ${LISTED}`],
  ["what is not there or false", `allow if object.get(data.listed, input.principal.id, false) == false`],
  ["what is not there or small", `allow if object.get(data.listed, [input.principal.id, "risk"], 0) < 5`],
  ["none of them", `allow if count([1 | ${LISTED}]) == 0`],
  ["every one of them", `allow if every id in [id | some id, _ in data.listed] { id != "alice" }`],
  ["a default", `default risk := "low"\n\nrisk := "high" if ${LISTED}\n\nallow if risk == "low"`],
  ["an else", `risk := "high" if ${LISTED}\n\nelse := "low"\n\nallow if risk == "low"`],
  ["a difference", `allow if "alice" in ({"alice"} - {id | some id, _ in data.listed})`],
];

/** Each lets alice through where `data.listed` has her, and only there. */
const LISTED_ONLY: readonly (readonly [string, string])[] = [
  ["what is there", `allow if ${LISTED}`],
  ["what is there and true", `allow if object.get(data.listed, [input.principal.id, "risk"], 0) > 5`],
  ["one of them", `allow if "alice" in [id | some id, _ in data.listed]`],
  [
    "a default that is not asked for",
    `default grade := "low"\n\ngrade := "high" if ${LISTED}\n\nallow if grade == "high"`,
  ],
  [
    "a default that is too low",
    `default level := 0\n\nlevel := ${LISTED}.risk\n\nallow if level >= count(input.principal.id)`,
  ],
];

const { compiler } = policyBench();
const OWN_ROWS = HEAD.split("\n").length - 1;
const HOLES_OF_ALL = [...HOLES, ...matched.HOLES, ...chosen.HOLES];
const TWINS_OF_ALL = [...TWINS, ...matched.TWINS, ...chosen.TWINS, ...usual.TWINS];
const tables = [HOLES_OF_ALL, TWINS_OF_ALL, UNLISTED, LISTED_ONLY].map((table, n) =>
  table.map(([name, rules], at) => ({ name, rules, file: `t${n}r${at}.rego`, pkg: `t${n}r${at}` })),
);
const [holes = [], twins = [], unlisted = [], listedOnly = []] = tables;
const rows = tables.flat();

let engine: Engine;
let listing: Engine;
let found: readonly Finding[];

// all of them are compiled at once, each in a package of its own
beforeAll(async () => {
  const modules = Object.fromEntries(
    rows.map(({ file, pkg, rules }) => [file, `${HEAD.replace("portcullis", pkg)}${rules}\n`]),
  );
  const portcullis = { "p.rego": 'package portcullis\n\ndecision := {"allow": false}\n' };
  const sources = sourcesOf(textsOf({ modules: { ...modules, ...portcullis }, tests: {}, data: {} }));
  const inspected = await compiler.inspect({ ...sources, required: rows.map(({ pkg }) => `${pkg}.decision`) });
  const compiled = await compiler.compile(
    sources,
    rows.map(({ pkg }) => `${pkg}/decision`),
  );
  if (!inspected.ok) throw new Error(JSON.stringify(inspected.diagnostics));
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
  found = inspected.value.lint.filter(({ lint }) => LINTS[lint]?.refuses === true);
  engine = await createEngine(compiled.value, { listed: {} });
  listing = await createEngine(compiled.value, { listed: { alice: { risk: 9 } } });
}, 60_000);

const allows = (pkg: string, path: Json, where = engine): boolean => {
  const told = where.evaluate(`${pkg}/decision`, {
    request,
    principal,
    ...item("notes__read", []),
    arguments: { path },
  });
  return told.ok && (told.value as { readonly allow: unknown }).allow === true;
};

const lints = (file: string): readonly string[] =>
  found
    .filter((one) => one.file === file && one.row > OWN_ROWS)
    .map(({ lint, row, text }) => `${lint} ${row}: ${text}`);

describe("what grants by absence is found", () => {
  test.each(holes)("$name", ({ file, pkg }) => {
    expect([allows(pkg, "/etc/passwd"), allows(pkg, ["/etc/passwd"])]).toEqual([false, true]);
    expect(lints(file)).not.toEqual([]);
  });
});

describe("what denies by absence is left alone", () => {
  test.each(twins)("$name", ({ file, pkg }) => {
    expect([allows(pkg, "/srv/x"), allows(pkg, "/etc/passwd"), allows(pkg, ["/srv/x"])]).toEqual([true, false, false]);
    expect(lints(file)).toEqual([]);
  });
});

describe("what grants where data lacks something is found", () => {
  test.each(unlisted)("$name", ({ file, pkg }) => {
    expect([allows(pkg, "", listing), allows(pkg, "")]).toEqual([false, true]);
    expect(lints(file)).not.toEqual([]);
  });

  test.each(listedOnly)("but not what denies there: $name", ({ file, pkg }) => {
    expect([allows(pkg, "", listing), allows(pkg, "")]).toEqual([true, false]);
    expect(lints(file)).toEqual([]);
  });
});

test("nothing is found in what they have in common", () => {
  expect(found.filter(({ row }) => row <= OWN_ROWS)).toEqual([]);
});
