/**
 * `servers export`: the servers that are in force, as the `mcpServers` of a client, or as YAML for portcullis.yaml: what
 * `servers import` reads, or writes. What surprises: the gateway says which servers there are, and the file beside the
 * command how they are run and what their references are called, for commands and secrets leave the gateway by no API.
 */
import { parse, stringify } from "yaml";
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { ask } from "./client.ts";
import { exportedEntry, exportedServer } from "./export-server.ts";
import { CommandFault, flag, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

export async function exportServers(invocation: Invocation): Promise<number> {
  const { io, json } = invocation;
  const format = json ? "mcp" : (flag(invocation, "format") ?? "mcp");
  if (format !== "mcp" && format !== "yaml") throw new CommandFault("--format takes mcp or yaml", 2);
  const { config } = await ask(invocation, (client) => client.config.show.query());
  const written = flag(invocation, "url") === null ? await writtenIn(invocation) : new Map<string, JsonObject>();
  const notes: string[] = [];
  const servers = objectsIn(config["servers"]).map((one) => written.get(idOf(one)) ?? one);
  if (format === "yaml") {
    const told = servers.flatMap((one) => exportedServer(one, notes) ?? []);
    io.stdout(stringify({ servers: told }, { lineWidth: 0 }));
  } else {
    const defaults = new Set(
      objectsIn(config["servers"])
        .filter((one) => one["default"] === true)
        .map(idOf),
    );
    const entries = servers.flatMap((one) => {
      const entry = exportedEntry(one, notes);
      const name = defaults.has(idOf(one)) ? String(one["name"]) : idOf(one);
      return entry === null ? [] : [[name, entry] as const];
    });
    printJson(invocation, { mcpServers: Object.fromEntries(entries) });
  }
  for (const note of notes) io.stderr(`note: ${note}\n`);
  return 0;
}

/** As they stand in the file, `${…}` and all. */
async function writtenIn({ io, config }: Invocation): Promise<ReadonlyMap<string, JsonObject>> {
  const text = await io.ports.disk.readFile(config, "utf8").catch(() => "");
  // what is in force was read from it: where it cannot be read now, nothing of it is told
  let file: unknown = null;
  try {
    file = parse(text);
  } catch {
    file = null;
  }
  const servers = isObject(file as Json) ? objectsIn((file as JsonObject)["servers"]) : [];
  return new Map(servers.map((one) => [idOf(one), one]));
}

function objectsIn(value: Json | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter((one: Json) => isObject(one)) : [];
}

function idOf({ name, version = "1.0.0" }: JsonObject): string {
  return `${String(name)}@${String(version)}`;
}
