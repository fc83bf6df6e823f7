/**
 * An MCP server of our own for tests: both eras, over Streamable HTTP or stdio, well-behaved or not. As a function, or
 * as a process:
 *   node test/support/upstreams/fixture.ts --port 4102 --era both --reply auto
 *   node test/support/upstreams/fixture.ts --stdio --era legacy [--noise] [--flood] [--tools FILE]
 */
import { readFileSync, watchFile } from "node:fs";
import { parseArgs } from "node:util";
import { newState } from "./fixture-core.ts";
import type { State, StateOptions } from "./fixture-core.ts";
import { serveHttp } from "./fixture-http.ts";
import type { HttpFixture, HttpOptions } from "./fixture-http.ts";
import { serveStdio } from "./fixture-stdio.ts";
import type { Definition } from "./fixture-tools.ts";

export type Fixture = HttpFixture & {
  readonly state: State;
  /** Changes what tools/list says, and says so to who listens. */
  readonly define: (tools: readonly Definition[]) => void;
};

export async function startFixture(options: StateOptions & HttpOptions = {}): Promise<Fixture> {
  const state = newState(options);
  const http = await serveHttp(state, options);
  return {
    ...http,
    state,
    define: (tools) => {
      state.tools = tools;
      http.listChanged();
    },
  };
}

function definitionsIn(file: string): readonly Definition[] {
  return JSON.parse(readFileSync(file, "utf8")) as readonly Definition[];
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      era: { type: "string", default: "both" },
      reply: { type: "string", default: "auto" },
      page: { type: "string" },
      stdio: { type: "boolean", default: false },
      noise: { type: "boolean", default: false },
      flood: { type: "boolean", default: false },
      "deaf-to-discover": { type: "boolean", default: false },
      tools: { type: "string" },
    },
  });
  const era = values.era as State["era"];
  const pageSize = values.page === undefined ? null : Number(values.page);
  const { stdio, noise, flood, "deaf-to-discover": deaf, tools } = values;
  if (stdio) {
    const state = newState({ era, pageSize, ...(tools === undefined ? {} : { tools: definitionsIn(tools) }) });
    const listChanged = serveStdio(state, { noise, flood, deaf });
    if (tools !== undefined)
      watchFile(tools, { interval: 50 }, () => {
        state.tools = definitionsIn(tools);
        listChanged();
      });
  } else {
    const { url } = await startFixture({
      era,
      pageSize,
      port: Number(values.port),
      reply: values.reply as "json" | "sse" | "auto",
    });
    process.stdout.write(`${url}\n`);
  }
}
