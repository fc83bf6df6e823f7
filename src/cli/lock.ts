/**
 * `tools lock`: which definitions does this repository rely on, and are they still the same? The file holds them whole, so
 * that a review shows what changed, and a check says what that breaks.
 */
import { resolve } from "node:path";
import { isObject, JsonFault, parseJson } from "../json.ts";
import type { JsonObject } from "../model.ts";
import { fingerprint } from "../registry/fingerprint.ts";
import { diffTool } from "../registry/tool-diff.ts";
import type { ToolChange } from "../registry/tool-diff.ts";
import { ask, hasKey } from "./client.ts";
import { CommandFault, flag, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { allowed, assertServer } from "./servers.ts";
import { textOf } from "./tool-diff.ts";
import { toolsOf } from "./tools.ts";

const FORMAT = 1;
/** Definitions by `server@version/tool`. */
type Locked = ReadonlyMap<string, JsonObject>;

export async function lockTools(invocation: Invocation): Promise<number> {
  const name = flag(invocation, "file") ?? "mcp.lock";
  const server = flag(invocation, "server");
  const checks = invocation.flags["check"] === true;
  const locked = checks ? await readLock(invocation, name) : null;
  if (server !== null) await assertNamed(invocation, server, { name, locked });
  const seen = await toolsOf(invocation, { version: "*", ...(server === null ? {} : { server }) });
  const { tools, isPart } = locked === null ? { tools: seen, isPart: false } : await whole(invocation, locked, seen);
  // what is quarantined is not what anybody relies on; where it stands for what somebody does, it is what they would get
  const counted = tools.filter((tool) => !tool.quarantined || locked?.has(tool.id) === true);
  const now: Locked = new Map(counted.map((tool) => [tool.id, tool.definition]));
  if (locked !== null) {
    const waiting = new Set(counted.filter(({ quarantined }) => quarantined).map(({ id }) => id));
    return check(invocation, locked, { now, server, waiting, isPart });
  }
  await invocation.io.ports.disk.writeFile(resolve(invocation.io.cwd, name), lockText(now));
  if (invocation.json) printJson(invocation, { file: name, tools: now.size });
  else invocation.io.stderr(`Wrote ${now.size} definitions to ${name}.\n`);
  return 0;
}

type Tools = Awaited<ReturnType<typeof toolsOf>>;

/** What the file holds and this key does not see may be there all the same. `isPart`: nobody says whether it is. */
async function whole(
  invocation: Invocation,
  locked: Locked,
  seen: Tools,
): Promise<{ readonly tools: Tools; readonly isPart: boolean }> {
  const ids = new Set(seen.map(({ id }) => id));
  const unseen = [...locked.keys()].filter((id) => !ids.has(id));
  if (unseen.length === 0 || !hasKey(invocation)) return { tools: seen, isPart: false };
  const all = await allowed(ask(invocation, (client) => client.tools.inspect.query({ version: "*" })));
  const there = all?.tools.filter(({ id }) => unseen.includes(id)) ?? [];
  return { tools: [...seen, ...there], isPart: all === null };
}

/** A check of what is neither in the file nor there would pass for ever. @throws CommandFault */
async function assertNamed(
  invocation: Invocation,
  server: string,
  { name, locked }: { readonly name: string; readonly locked: Locked | null },
): Promise<void> {
  // one that went is in the file, and drift
  if (locked !== null && [...locked.keys()].some((id) => serverOf(id) === server)) return;
  await assertServer(invocation, server);
  if (locked !== null) throw new CommandFault(`${name} holds no tool of server ${server}`, 1);
}

type Compared = {
  readonly now: Locked;
  readonly server: string | null;
  readonly waiting: ReadonlySet<string>;
  readonly isPart: boolean;
};

/** Of the servers that the file names: what is not in it is drift too. */
function check(invocation: Invocation, locked: Locked, { now, server, waiting, isPart }: Compared): number {
  const servers = new Set([...locked.keys()].map(serverOf).filter((one) => server === null || one === server));
  const ids = [...new Set([...locked.keys(), ...now.keys()])].filter((id) => servers.has(serverOf(id))).toSorted();
  const changes: readonly ToolChange[] = ids.flatMap((id) => {
    const change = diffTool(id, { before: locked.get(id), after: now.get(id) }, { sameVersion: true });
    if (change === null) return waiting.has(id) ? heldBack(id, now.get(id)) : [];
    return isPart && change.kind === "removed" ? { ...change, findings: [UNSEEN] } : change;
  });
  if (invocation.json) printJson(invocation, { changes });
  else if (changes.length === 0) invocation.io.stderr(`${ids.length} definitions are as they were.\n`);
  else for (const change of changes) invocation.io.stdout(textOf(change));
  return changes.length === 0 ? 0 : 1;
}

const UNSEEN = {
  verdict: "breaking",
  path: "",
  message: "gone, or not for this key to see, or awaiting approval: a key with servers:read is told which",
} as const;

/** The same as it was locked, but not as it was accepted since: nobody can call it. */
function heldBack(tool: string, definition: JsonObject = {}): ToolChange {
  const digest = fingerprint(definition);
  const findings = [
    { verdict: "suspicious", path: "", message: "awaits approval: another definition is accepted" },
  ] as const;
  return { tool, kind: "changed", verdict: "suspicious", findings, before: digest, after: digest };
}

function serverOf(id: string): string {
  return id.slice(0, id.indexOf("@"));
}

/** Sorted, a line for each key: two people who lock at once can merge. */
function lockText(locked: Locked): string {
  const tools = [...locked].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const entries = tools.map(([id, definition]) => [id, { digest: fingerprint(definition), definition }] as const);
  return `${JSON.stringify({ format: FORMAT, tools: Object.fromEntries(entries) }, null, 2)}\n`;
}

/** @throws CommandFault where it is no lock file, or a definition is not what its digest says */
async function readLock({ io }: Invocation, name: string): Promise<Locked> {
  const bytes = await io.ports.disk.readFile(resolve(io.cwd, name)).catch(() => {
    throw new CommandFault(`${name} cannot be read: write it with portcullis tools lock`, 2);
  });
  const locked = parsed(bytes, name);
  if (locked["format"] !== FORMAT || !isObject(locked["tools"] ?? null))
    throw new CommandFault(`${name} is no lock file of format ${FORMAT}`, 2);
  return new Map(
    Object.entries(locked["tools"] as JsonObject).map(([id, entry]) => {
      const { digest, definition = null } = isObject(entry) ? entry : {};
      if (!isObject(definition) || digest !== fingerprint(definition))
        throw new CommandFault(`${name}: the definition of ${id} is not what its digest says`, 2);
      return [id, definition];
    }),
  );
}

function parsed(bytes: Buffer, name: string): JsonObject {
  try {
    const value = parseJson(bytes, "kept");
    if (isObject(value)) return value;
  } catch (cause) {
    if (!(cause instanceof JsonFault)) throw cause;
  }
  throw new CommandFault(`${name} is not a JSON object`, 2);
}
