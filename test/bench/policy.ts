/**
 * What does a decision cost, and how long does an edit take? The same policy of 131 lines, with 1,000 users, 300 tools and
 * 50 roles, in our engine, in stock opa-wasm and, where the machine has it, in the native OPA over REST, in turns in one
 * process; then the shipped policy, lists, and from an edit to what is in force.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import * as disk from "node:fs/promises";
import { Agent, request as send } from "node:http";
import { join } from "node:path";
import * as stock from "@open-policy-agent/opa-wasm";
import type { JsonObject, Principal, Tool } from "../../src/model.ts";
import { compileBundle, loadPolicy } from "../../src/policy/bundle.ts";
import { failingTests } from "../../src/policy/commands.ts";
import { type Compiler, createCompiler } from "../../src/policy/compiler.ts";
import { createEngine } from "../../src/policy/engine.ts";
import { type Bundle, readBundle, textsOf } from "../../src/policy/sources.ts";
import { USE } from "../../src/policy/wrapper.ts";
import { freePort, lacks, requirePart, started } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import { temporaryFolder } from "../support/portcullis.ts";
import type { Bench } from "./gateways.ts";
import { middle } from "./measure.ts";

const root = join(import.meta.dirname, "../..");
const TOOLS = 300;

export async function policy({ effort }: Bench) {
  const compiler = createCompiler({ wasmPath: join(root, "policies/compiler/opa.wasm.br") });
  const folder = temporaryFolder();
  const stops: (() => Promise<unknown>)[] = [async () => compiler.close()];
  try {
    const rego = readFileSync(join(import.meta.dirname, "policies/authz/portcullis.rego"), "utf8");
    const bundle: Bundle = { modules: { "portcullis.rego": rego }, tests: {}, data: authzData() };
    const texts = Array.from({ length: 500 }, (_, at) => JSON.stringify(question(at)));
    const wasm = await built(compiler, bundle);
    const engine = await createEngine(wasm, bundle.data);
    const plain = await stock.loadPolicy(wasm);
    plain.setData(bundle.data);
    const asked: Asked[] = [
      { name: "engine", ask: (text) => engine.evaluateText(USE, text) },
      { name: "stock", ask: (text) => plain.evaluate(JSON.parse(text) as object, USE) },
    ];
    if (!lacks("opa")) asked.push(await nativeOver(bundle, folder, stops));
    const p50 = await inTurns(asked, texts, effort.quick ? 2 : 6);
    const native = p50["native"];
    return {
      engineMicros: p50["engine"] ?? Number.NaN,
      stockMicros: p50["stock"] ?? Number.NaN,
      nativeMicros: native ?? null,
      overStock: (p50["engine"] ?? Number.NaN) / (p50["stock"] ?? Number.NaN),
      overNative: native === undefined ? null : (p50["engine"] ?? Number.NaN) / native,
      steps: engine.steps(),
      ...(await shipped(compiler)),
      ...(await edits(compiler, bundle)),
      compilerMb: compilerMegabytes(),
    };
  } finally {
    for (const stop of stops.toReversed()) await stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

type Asked = { readonly name: string; readonly ask: (text: string) => unknown };

async function built(compiler: Compiler, bundle: Bundle): Promise<Uint8Array<ArrayBuffer>> {
  const compiled = await compileBundle(compiler, textsOf(bundle));
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
  return new Uint8Array(compiled.value);
}

/** The middle of each, in µs: all questions in a row, as under load, and round by round in turns: a slow minute hits all of them. */
async function inTurns(
  asked: readonly Asked[],
  texts: readonly string[],
  rounds: number,
): Promise<{ readonly [name: string]: number }> {
  const took: { [name: string]: number[] } = {};
  for (let round = 0; round <= rounds; round++) {
    for (const { name, ask } of asked) {
      for (const text of texts) {
        const before = performance.now();
        await ask(text);
        // the first round is for the compiler of JavaScript
        if (round > 0) (took[name] ??= []).push((performance.now() - before) * 1000);
      }
    }
  }
  return Object.fromEntries(Object.entries(took).map(([name, micros]) => [name, middle(micros)]));
}

/** OPA as a server, one connection kept alive. */
async function nativeOver(bundle: Bundle, folder: string, stops: (() => Promise<unknown>)[]): Promise<Asked> {
  const texts = { ...bundle.modules, "data.json": JSON.stringify(bundle.data) };
  for (const [path, text] of Object.entries(texts)) writeFileSync(join(folder, path), text);
  const files = Object.keys(texts).map((path) => join(folder, path));
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const args = ["run", "--server", "--addr", address, "--skip-version-check", "--log-level", "error", ...files];
  const server: Part = await started(requirePart("opa"), args, port);
  stops.push(server.stop);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  stops.push(async () => agent.destroy());
  const url = `http://${address}/v1/data/portcullis/decision`;
  return { name: "native", ask: async (text) => posted(url, `{"input":${text}}`, agent) };
}

async function posted(url: string, body: string, agent: Agent): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const outgoing = send(url, { method: "POST", agent, headers }, (answer) => {
    let text = "";
    answer.setEncoding("utf8").on("data", (part: string) => (text += part));
    answer.once("end", () => (text.includes('"allow"') ? resolve(text) : reject(new Error(text))));
  });
  outgoing.once("error", reject).end(body);
  return promise;
}

/** The shipped policy as the gateway asks it, and a list of 300 tools that nobody has asked for before. */
async function shipped(compiler: Compiler) {
  const roles = { analyst: ["files:read"] };
  const loaded = await loadPolicy(
    { compiler, cache: null },
    textsOf(await readBundle(disk, join(root, "policies"))),
    roles,
  );
  const item = (name: string) => ({
    target: { kind: "tool", name },
    tool: { server: "files", version: "1", permissions: ["files:read"], tags: [], annotations: {}, digest: "sha256:0" },
  });
  const { request, principal } = question(0);
  const text = JSON.stringify({
    request,
    principal: { ...PRINCIPAL, permissions: ["files:read"] },
    ...item("a"),
    arguments: {},
  });
  const pair = { principal: { ...PRINCIPAL } as unknown as Principal, tool: {} as Tool };
  const once = await inTurns(
    [{ name: "use", ask: () => loaded.decideUse(text, pair) }],
    Array<string>(2000).fill(text),
    3,
  );
  const items = Array.from({ length: TOOLS }, (_, at) => item(`t${at}`));
  const tools = items.map(() => ({})) as Tool[];
  const asking = { request: { ...request, operation: "tools/list" }, principal, tools: items } as unknown as JsonObject;
  const list = await inTurns(
    [{ name: "list", ask: () => loaded.listTools(() => asking, { principal: {} as Principal, tools }) }],
    Array<string>(40).fill(""),
    3,
  );
  return { shippedMicros: once["use"] ?? Number.NaN, listMs: (list["list"] ?? Number.NaN) / 1000 };
}

/** Warm: the compiler is loaded, as it is while somebody edits. */
async function edits(compiler: Compiler, bundle: Bundle) {
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const before = performance.now();
    await work();
    return performance.now() - before;
  };
  const tests = {
    "p_test.rego": 'package p_test\n\ntest_a if not data.portcullis.denied with input as {"principal": {"id": "u1"}}\n',
  };
  const enforce = async (some: Bundle): Promise<unknown> => createEngine(await built(compiler, some), some.data);
  const ms = await Promise.resolve().then(async () => ({
    editMs: middle([
      await timed(() => enforce(bundle)),
      await timed(() => enforce(bundle)),
      await timed(() => enforce(bundle)),
    ]),
    testedMs: await timed(async () => {
      await failingTests(compiler, textsOf({ ...bundle, tests }), {});
      await enforce(bundle);
    }),
  }));
  const large = largeBundle();
  await enforce(large);
  return { ...ms, largeMs: await timed(() => enforce(large)) };
}

/** The most that the compiler's worker takes, in a process of its own. */
function compilerMegabytes(): number {
  const said = execFileSync(process.execPath, [join(import.meta.dirname, "compiler-memory.ts")], { encoding: "utf8" });
  return (JSON.parse(said) as { readonly most: number }).most;
}

function largeBundle(): Bundle {
  const modules: { [path: string]: string } = {
    "portcullis.rego":
      'package portcullis\n\ndefault decision := {"allow": false}\n\ndecision := {"allow": true} if data.r.f0.allow0\n',
  };
  for (let file = 0; file < 200; file++) {
    const rules = Array.from({ length: 10 }, (_, at) => `allow${at} if input.principal.id == "u${file}-${at}"\n`);
    modules[`f${file}.rego`] = `package r.f${file}\n\n${rules.join("\n")}`;
  }
  return { modules, tests: {}, data: {} };
}

const PRINCIPAL = {
  id: "u0",
  kind: "user",
  roles: ["analyst"],
  permissions: [],
  tenant: "t0",
  onBehalfOf: null,
  claims: {},
};

/** The at-th question: another user, another tool, now and then a wrong argument. */
function question(at: number) {
  const user = (at * 7) % 1000;
  const tool = (at * 13) % TOOLS;
  return {
    request: {
      id: String(at),
      time: "2026-11-22T11:00:00Z",
      interface: "mcp",
      operation: "tools/call",
      ip: "127.0.0.1",
      protocol: "2026-07-28",
    },
    principal: { ...PRINCIPAL, id: `u${user}`, tenant: `t${user % 5}` },
    target: { kind: "tool", name: `s${tool % 10}__tool${tool}` },
    tool: {
      server: `s${tool % 10}`,
      version: "1.2.0",
      permissions: [`s${tool % 10}:use`],
      tags: tool % 9 === 0 ? ["pii"] : [],
      annotations: { readOnlyHint: true },
      digest: "sha256:0",
    },
    arguments: {
      path: at % 11 === 0 ? "/etc/../x" : "/data/reports/q3",
      limit: at % 100,
      mode: "read",
      note: "as agreed",
    },
  };
}

function authzData(): JsonObject {
  const of = <T>(count: number, make: (at: number) => readonly [string, T]) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => make(at)));
  const users = of(1000, (at) => [
    `u${at}`,
    {
      roles: [0, 1, 2, 3].map((step) => `r${(at * 3 + step * 11) % 50}`),
      tenant: `t${at % 5}`,
      suspended: at % 97 === 0,
    },
  ]);
  const roles = of(50, (at) => [
    `r${at}`,
    {
      permissions: [`s${at % 10}:use`, `s${(at + 3) % 10}:admin`],
      tools: Array.from({ length: 12 }, (_, step) => `s${(at + step) % 10}__tool${(at * 5 + step) % TOOLS}`),
      globs: at % 5 === 0 ? [`s${at % 10}__tool1*`] : [],
    },
  ]);
  const tools = of(TOOLS, (at) => [
    `s${at % 10}__tool${at}`,
    {
      tenants: ["t0", "t1", "t2", "t3", "t4"],
      window: { from: 6, to: 22 },
      arguments: {
        path: { kind: "prefix", value: "/data/" },
        limit: { kind: "max", value: 1000 },
        mode: { kind: "one_of", value: ["read", "list"] },
        note: { kind: "length", value: 200 },
      },
    },
  ]);
  return { authz: { users, roles, tools, forbidden: { t3: ["secret"] } } };
}
