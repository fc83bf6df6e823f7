/**
 * `servers import FILE`: what a client wrote about its servers (`mcpServers` of Claude, Cursor and Windsurf, `servers`
 * of VS Code) as YAML for portcullis.yaml. It prints, it does not change anything: what runs as a stdio server comes
 * from a file that somebody read. What surprises: values that look like secrets are left out, with a note.
 */
import { stringify } from "yaml";
import { whyUnreadable } from "../config-expand.ts";
import { JsonFault, isObject, parseJsonText } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { convertServer } from "./import-server.ts";
import type { Imported } from "./import-server.ts";
import { CommandFault, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { withoutComments } from "./jsonc.ts";

export async function importServers(invocation: Invocation): Promise<number> {
  const { io, operands } = invocation;
  const [file = ""] = operands;
  const text = await io.ports.disk.readFile(file, "utf8").catch((fault: unknown) => {
    throw new CommandFault(`${file}: ${whyUnreadable(fault)}`, 2);
  });
  const { servers, notes } = convert(parse(text, file), file);
  for (const note of notes) io.stderr(`note: ${note}\n`);
  if (servers.length === 0) throw new CommandFault(`${file} names no server that could be imported`, 1);
  if (invocation.json) printJson(invocation, { servers, notes });
  else io.stdout(stringify({ servers }, { lineWidth: 0 }));
  return 0;
}

function parse(text: string, file: string): JsonObject {
  try {
    const value = parseJsonText(withoutComments(text));
    if (isObject(value)) return value;
  } catch (fault) {
    if (!(fault instanceof JsonFault)) throw fault;
    throw new CommandFault(`${file}: ${fault.message.replace("The body", "it")}`, 2);
  }
  throw new CommandFault(`${file}: expected a JSON object`, 2);
}

type Converted = { readonly servers: readonly JsonObject[]; readonly notes: readonly string[] };

function convert(root: JsonObject, file: string): Converted {
  const entries = Object.entries(serversOf(root, file));
  const names = new Set<string>();
  const imported: Imported[] = [];
  for (const [name, entry] of entries) {
    const own = freeName(name, names);
    names.add(own);
    imported.push(convertServer({ name: own, asWritten: name, entry }));
  }
  return {
    servers: imported.flatMap(({ server }) => (server === null ? [] : [server])),
    notes: imported.flatMap(({ notes }) => notes),
  };
}

/** Also VS Code's settings.json, which holds the same below `mcp`. */
function serversOf(root: JsonObject, file: string): JsonObject {
  const settings = root["mcp"];
  const found: readonly (Json | undefined)[] = [
    root["mcpServers"],
    root["servers"],
    isObject(settings) ? settings["servers"] : undefined,
  ];
  const servers = found.find((one) => isObject(one));
  if (!isObject(servers)) throw new CommandFault(`${file}: expected an object mcpServers (or servers, of VS Code)`, 2);
  return servers;
}

/** A name that a server may have here, and that no earlier one has. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  const words = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^[-0-9]+|-+$/g, "");
  const base = words === "" ? "server" : words.slice(0, 24).replace(/-+$/, "");
  if (!taken.has(base)) return base;
  for (let number = 2; ; number++) {
    const next = `${base.slice(0, 24 - `-${number}`.length)}-${number}`;
    if (!taken.has(next)) return next;
  }
}
