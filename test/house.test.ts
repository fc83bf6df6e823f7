/** The rules of the house, which stand as tables in support/house.ts: each test names the file that strayed. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { deadFiles, floorOf, importFaults, measure, readHouse, readSource, wordFaults } from "./support/house.ts";
import { missingOptional, readLockfile } from "./support/lockfile.ts";

const root = join(import.meta.dirname, "..");
const files = readHouse(root);

describe("the house", () => {
  test("has a floor for every file", () => {
    expect(files.map(({ path }) => path).filter((path) => floorOf(path) === -1)).toEqual([]);
  });

  test("imports only downwards, types only from a neighbour, and each package only at its home", () => {
    expect(files.flatMap(importFaults)).toEqual([]);
  });

  test("speaks each reserved word in one place", () => {
    expect(files.flatMap(wordFaults)).toEqual([]);
  });

  test("has no file that nothing imports", () => {
    expect(deadFiles(files)).toEqual([]);
  });

  test("opens every file with the question that it answers", () => {
    expect(files.filter(({ opensWithComment }) => !opensWithComment).map(({ path }) => path)).toEqual([]);
  });

  test("has no `any`, and no function with more than four parameters", () => {
    const { anys, parametersMost } = measure(root);
    expect({ anys, parametersMost: Math.min(parametersMost, 4) }).toEqual({ anys: 0, parametersMost });
  });

  test.each(["package-lock.json", "test/interop/package-lock.json"])("%s holds the build of every platform", (name) => {
    const missing = missingOptional(readLockfile(join(root, name)));
    expect(missing, "npm ci refuses it: node test/support/lockfile.ts --write").toEqual([]);
  });

  test("names no registry, no absolute path and no machine of anybody's", () => {
    expect(tracked().flatMap(strayWords)).toEqual([]);
  });
});

describe("the rules themselves", () => {
  const of = (path: string, text: string) => readSource(path, `/** A file. */\n${text}`);

  test.each([
    ["policy/a.ts", 'import { x } from "../call.ts";', "imports go down"],
    ["model.ts", 'import { x } from "./limits/limit.ts";', "imports go down"],
    ["policy/a.ts", 'import { x } from "../limits/limit.ts";', "never its code"],
    ["doors/a.ts", 'import { x } from "../cli/b.ts";', "never its code"],
    ["policy/a.ts", 'import { Pool } from "undici";', "whose home is"],
    ["policy/a.ts", 'import pad from "left-pad";', "has no home"],
    ["policy/a.ts", 'import { x } from "../attic/b.ts";', "has no floor"],
  ])("%s may not say %s", (path, text, fault) => {
    expect(importFaults(of(path, text)).join()).toContain(fault);
  });

  test("a neighbour's type may be imported", () => {
    expect(importFaults(of("policy/a.ts", 'import type { X } from "../limits/limit.ts";'))).toEqual([]);
  });

  test.each([
    ["policy/a.ts", "process.exit(1);"],
    ["audit/a.ts", "const at = Date.now();"],
    ["doors/a.ts", "await fetch(url);"],
    ["doors/a.ts", "JSON.parse(text);"],
    ["audit/a.ts", "console.log(1);"],
    ["audit/a.ts", "throw answer({ status: 404 });"],
  ])("%s may not say %s", (path, text) => {
    expect(wordFaults(of(path, text))).toHaveLength(1);
  });

  test("a reserved word in a comment is no offence", () => {
    expect(wordFaults(of("policy/a.ts", "// unlike Date.now, this is simulated\nconst a = 1;"))).toEqual([]);
  });

  test("a function is measured with the name that holds it", () => {
    const { functions, anys } = of("a.ts", "export const f = (a: any) => {\n  return a;\n};\n");
    expect(functions).toEqual([{ name: "f", file: "a.ts", lines: 3, parameters: 1 }]);
    expect(anys).toBe(1);
  });

  test("a file that only a worker's URL names is not dead", () => {
    for (const url of ["./work.ts", "work.ts"]) {
      const parent = of("main.ts", `new Worker(new URL("${url}", import.meta.url));`);
      expect(deadFiles([parent, of("work.ts", "")])).toEqual([]);
    }
    expect(deadFiles([of("main.ts", ""), of("work.ts", "")])).toEqual(["work.ts"]);
  });
});

/** Text files in version control. */
function tracked(): readonly string[] {
  const binary = /\.(br|wasm|png|gz|lock)$|package-lock\.json$/;
  const names = execFileSync("git", ["ls-files"], { cwd: root, encoding: "utf8" }).split("\n");
  return names.filter((name) => name !== "" && !binary.test(name) && !name.startsWith("policies/compiler/"));
}

/** Homes and work folders of some machine, and package registries: none of them is the product's business. */
const STRAY = /(?<![\w.])\/(?:home|root|work|Users)\/\w|\bregistry\.\w+\.\w{3}\b|\bpypi\.\w+|\bproxy\.golang\b/;

function strayWords(name: string): readonly string[] {
  let text: string;
  try {
    text = readFileSync(join(root, name), "utf8");
  } catch {
    // removed from the work tree, not yet from the index
    return [];
  }
  return text
    .split("\n")
    .flatMap((line, at) => (STRAY.test(line) && name !== "test/house.test.ts" ? [`${name}:${at + 1}`] : []));
}
