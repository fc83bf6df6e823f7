/**
 * The promise: Rego is checked and compiled without an `opa` binary, by OPA's own compiler; what is wrong is named
 * with file, row and column; what is hostile ends the worker, not the process.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterAll, describe, expect, test } from "vitest";
import { createThread } from "../src/policy/compiler-thread.ts";
import { createCompiler } from "../src/policy/compiler.ts";
import { formatDiagnostic } from "../src/policy/diagnostic.ts";
import { BUNDLE_BYTES_MAX } from "../src/policy/scan.ts";
import { instantiate } from "../src/policy/wasi.ts";
import { boundMemory } from "../src/policy/wasm-bound.ts";

const wasmPath = "policies/compiler/opa.wasm.br";
const BUILD = "policies/compiler/build.sh";
const GO = "go";
const compiler = createCompiler({ wasmPath });
afterAll(async () => compiler.close());

const bundle = (rego: string, data = {}) => ({ modules: { "a.rego": rego }, data });
const check = async (rego: string): Promise<readonly string[]> =>
  (await compiler.check(bundle(rego))).map(formatDiagnostic);

describe("the binary", () => {
  test("is the one whose digest is recorded", () => {
    const raw = brotliDecompressSync(readFileSync(wasmPath));
    const digest = createHash("sha256").update(raw).digest("hex");
    expect(readFileSync("policies/compiler/opa.wasm.sha256", "utf8")).toBe(`${digest}  opa.wasm\n`);
    expect(compiler.digest).toBe(`sha256:${digest}`);
  });

  const lacking = whyNoRebuild();
  test.skipIf(lacking !== null)(
    `is what its sources give when rebuilt${lacking === null ? "" : ` (skipped: ${lacking})`}`,
    { timeout: 600_000 },
    () => {
      expect(() => execFileSync(BUILD, ["--check"], { stdio: "pipe" })).not.toThrow();
    },
  );
});

describe("a check", () => {
  test("passes sound Rego", async () => {
    expect(await check("package p\n\nallow if input.a == 1\n")).toEqual([]);
  });

  test("names file, row and column of every error in every file", async () => {
    const modules = { "a.rego": "package p\n\nallow if {", "b/c.rego": "package p\n\nx := y\n" };
    expect((await compiler.check({ modules, data: {} })).map(formatDiagnostic)).toEqual([
      expect.stringMatching(/^a\.rego:3:\d+: rego_parse_error: /u),
    ]);
    expect(
      (await compiler.check({ modules: { ...modules, "a.rego": "package p\n\nz := w" }, data: {} })).map(
        formatDiagnostic,
      ),
    ).toEqual([
      "a.rego:3:6: rego_unsafe_var_error: var w is unsafe",
      "b/c.rego:3:6: rego_unsafe_var_error: var y is unsafe",
    ]);
  });

  test("is strict: an import or a variable that nothing uses is an error", async () => {
    expect(await check("package p\n\nimport data.foo\n\nx if y := 1\n")).toEqual([
      "a.rego:3:1: rego_compile_error: import data.foo unused",
      "a.rego:5:6: rego_compile_error: assigned var y unused",
    ]);
  });

  test("refuses every built-in that the engine has not, at its row", async () => {
    const calls = [
      "http.send({})",
      "rand.intn(`x`, 3)",
      "yaml.unmarshal(`a`)",
      "regex.split(`a`, `b`)",
      "opa.runtime()",
      "net.lookup_ip_addr(`a`)",
      "uuid.rfc4122(`a`)",
      "trace(`a`)",
      "io.jwt.decode_verify(`a`, {})",
    ];
    for (const call of calls) {
      const name = call.slice(0, call.indexOf("("));
      expect(await check(`package p\n\nx := ${call}\n`)).toEqual([
        `a.rego:3:6: rego_type_error: undefined function ${name}`,
      ]);
    }
  });

  test("refuses a rule where data stands or where the gateway's data will stand", async () => {
    expect((await compiler.check(bundle("package p\n\nx := 1\n", { p: { x: 1 } }))).map(formatDiagnostic)).toEqual([
      expect.stringMatching(/^a\.rego:\d+:\d+: rego_compile_error: .*conflict.*p\/x/u),
    ]);
    const reserved = { owner: "o", paths: ["p.roles"] };
    const message = "reserved_path: data.p.roles belongs to the gateway: no rule may be defined there";
    for (const [rego, place] of [
      ["package p\n\nroles := 1", "3:1"],
      ["package p\n\nroles.x := 1", "3:1"],
      ["package p\n\nroles contains 1", "3:1"],
      ["package p.roles\n\nx := 1", "1:1"],
      ["package p.roles.x", "1:1"],
    ] as const) {
      expect((await compiler.check({ ...bundle(rego), reserved })).map(formatDiagnostic)).toEqual([
        `a.rego:${place}: ${message}`,
      ]);
    }
  });

  test("holds references to the schema that annotations name", async () => {
    const rego =
      "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.input\npackage p\n\nallow if input.principle.id\n";
    const schema = { type: "object", properties: { principal: { type: "object" } }, additionalProperties: false };
    const found = await compiler.check({ ...bundle(rego), schemas: { "schema.input": schema } });
    expect(found.map(formatDiagnostic)).toEqual([
      expect.stringContaining("a.rego:7:10: rego_type_error: undefined ref: input.principle.id"),
    ]);
  });

  test("refuses too large and too deep a source before the compiler sees it", async () => {
    const deep = `package p\n\nx := ${"[".repeat(201)}${"]".repeat(201)}`;
    expect(await check(deep)).toEqual(["a.rego:3:206: nested_too_deep: nested more than 200 deep"]);
    expect(await check(`package p\n\nx := "${"[".repeat(300)}" # ${"(".repeat(300)}\n`)).toEqual([]);
    expect(await check(`package p\n# ${"x".repeat(BUNDLE_BYTES_MAX)}`)).toEqual([
      expect.stringContaining("a.rego:1:1: bundle_too_large"),
    ]);
  });
});

describe("compiling", () => {
  test("gives the same bytes for the same sources", async () => {
    const sources = bundle("package p\n\nallow if input.a == 1\n");
    const [first, second] = [
      await compiler.compile(sources, ["p/allow"]),
      await compiler.compile(sources, ["p/allow"]),
    ];
    expect(first.ok && second.ok && Buffer.from(first.value).equals(Buffer.from(second.value))).toBe(true);
  });

  test("of an entrypoint that is no rule fails", async () => {
    expect(await compiler.compile(bundle("package p\n\nx := 1"), ["p/y"])).toEqual({
      ok: false,
      diagnostics: [expect.objectContaining({ message: 'entrypoint "p/y" is not a rule' })],
    });
  });

  test("that takes too long fails, and the next one succeeds in a new worker", async () => {
    const thread = createThread({ wasmPath, digest: compiler.digest });
    const ask = (rego: string) => ({ op: "check", modules: { "a.rego": rego } });
    const endless = ask(`package p\n\nx := 1 if false ${"else := 1 if false ".repeat(50_000)}`);
    const [slow, sound] = await Promise.all([thread.ask(endless, 200), thread.ask(ask("package p\n\nx := 1"))]);
    expect(slow).toMatchObject({
      ok: false,
      diagnostics: [{ code: "compiler_fault", message: expect.stringContaining("200 ms") }],
    });
    expect(sound.ok).toBe(true);
    await thread.close();
  });

  test("starts a worker on first use, keeps it, and starts another once it has grown too large", async () => {
    let started = 0;
    const count = (): void => void started++;
    subscribe("worker_threads", count);
    const [plain, frugal] = [createCompiler({ wasmPath }), createCompiler({ wasmPath, memoryBytesMax: 1 })];
    expect(started).toBe(0);
    for (let i = 0; i < 2; i++) expect(await plain.check(bundle("package p\n\nx := 1"))).toEqual([]);
    expect(started).toBe(1);
    for (let i = 0; i < 2; i++) expect(await frugal.check(bundle("package p\n\nx := 1"))).toEqual([]);
    expect(started).toBe(3);
    unsubscribe("worker_threads", count);
    await Promise.all([plain.close(), frugal.close()]);
  });

  test("takes a bounded memory: of a bundle that needs more, it says so", async () => {
    const raw = brotliDecompressSync(readFileSync(wasmPath));
    expect(() => boundMemory(raw, 2 ** 20)).toThrow(/needs \d+ bytes of memory/);
    expect(() => boundMemory(raw.subarray(0, 100), 2 ** 30)).toThrow(/declares no memory/);
    const { memory } = instantiate(new WebAssembly.Module(boundMemory(raw, 224 * 2 ** 20)));
    memory.grow(10);
    expect(() => memory.grow(4000)).toThrow(RangeError);
  });

  const full = process.env["FULL"] === "1";
  test.skipIf(!full)(
    `and ends its worker only${full ? "" : " (skipped: set FULL=1)"}`,
    { timeout: 300_000 },
    async () => {
      const rule = (i: number) =>
        `\nr${i} if {\n\tinput.a == "${i}"\n\tstartswith(input.b, "/${i}")\n\tnot input.c in {"a", "b"}\n}\n`;
      const large = `package p\n${Array.from({ length: 40_000 }, (_, i) => rule(i)).join("")}`;
      expect(await compiler.check(bundle(large))).toMatchObject([
        { code: "compiler_fault", message: "the bundle takes more than 224 MiB to compile" },
      ]);
      expect(await compiler.check(bundle("package p\n\nx := 1"))).toEqual([]);
    },
  );

  test("with a broken binary fails", async () => {
    const dir = mkdtempSync(join(tmpdir(), "portcullis-compiler-"));
    writeFileSync(join(dir, "opa.wasm.br"), "garbage");
    writeFileSync(join(dir, "opa.wasm.sha256"), `${"0".repeat(64)}  opa.wasm\n`);
    const broken = createCompiler({ wasmPath: join(dir, "opa.wasm.br") });
    expect(await broken.check(bundle("package p\n\nx := 1"))).toEqual([
      expect.objectContaining({ code: "compiler_fault" }),
    ]);
    await broken.close();
    rmSync(dir, { recursive: true });
  });
});

test("OPA's own built-ins answer for comparison", async () => {
  expect(await compiler.builtin("sprintf", ['"%v"', "[{1, 2}]"])).toEqual({ ok: true, value: '"{1, 2}"' });
  expect(await compiler.builtin("object.get", ['{"a": 1}', '"b"', "9007199254740993"])).toEqual({
    ok: true,
    value: "9007199254740993",
  });
});

/** Null if this machine is to rebuild the compiler, else why not. */
function whyNoRebuild(): string | null {
  if (process.env["FULL"] !== "1" && process.env["CI"] !== "true") return "set FULL=1";
  const pinned = /^toolchain (\S+)$/mu.exec(readFileSync("policies/compiler/go.mod", "utf8"))?.[1];
  try {
    const version = execFileSync(GO, ["env", "GOVERSION"], {
      encoding: "utf8",
      env: { ...process.env, GOTOOLCHAIN: "local" },
    }).trim();
    return version === pinned ? null : `go is ${version}, not ${pinned ?? "pinned"}`;
  } catch {
    return "there is no go";
  }
}
