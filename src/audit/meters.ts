/**
 * How long does everything take? Histograms made of what a record keeps, when it is written: the call path pays for no
 * clock of theirs. What surprises: a label is what the catalogue names, or a code of ours; whatever somebody else chose
 * (a tool that is not there, an upstream's error code) is `other`, so that nobody can make series without end.
 */
import { createHistogram } from "../histogram.ts";
import type { Histogram, Labels, Meter, Series } from "../histogram.ts";
import { STAGES } from "../model.ts";
import type { Call, Tool } from "../model.ts";
import { REFUSALS } from "../refusal.ts";

export type Meters = {
  /** Of a call that was recorded, or of a view that leaves no record. */
  readonly ended: (call: Call, endedMs: number, errorType: string | null) => void;
  /** How long a record waited until it was durable. */
  readonly wrote: (waitedMs: number) => void;
  readonly read: () => readonly Histogram[];
};

const OTHER = "other";
/** As the semantic conventions for MCP have them. */
const MCP_BOUNDS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300];
const FINE_BOUNDS = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  10,
];

export function createMeters(): Meters {
  const server = createHistogram("mcp.server.operation.duration", "How long requests took here.", MCP_BOUNDS);
  const client = createHistogram("mcp.client.operation.duration", "How long servers took, each attempt.", MCP_BOUNDS);
  const stage = createHistogram("portcullis.stage.duration", "How long each stage of a call took.", FINE_BOUNDS);
  const write = createHistogram(
    "portcullis.audit.write.duration",
    "How long records waited for the disk.",
    FINE_BOUNDS,
  );
  const written = write.series("", () => ({}));
  const serverSeries = seriesIn(server);
  const clientSeries = seriesIn(client);
  const stages = STAGES.map((name) => stage.series(name, () => ({ "portcullis.stage": name })));
  return {
    ended: (call, endedMs, errorType) => {
      if (!isMcp(call.operation)) return;
      const tookMs = Math.max(endedMs - call.startedMs, 0);
      server.observe(serverSeries(call, errorType), tookMs);
      for (const { fromMs, toMs, error } of call.tries)
        client.observe(clientSeries(call, error === "" ? errorOf(toMs, errorType) : error), (toMs || tookMs) - fromMs);
      let before = 0;
      for (let at = 0; at < stages.length; at++) {
        const end = call.ends[at] ?? 0;
        if (end <= before) continue;
        stage.observe(stages[at] as Series, end - before);
        before = end;
      }
    },
    wrote: (waitedMs) => write.observe(written, waitedMs),
    read: () => [server, client, stage, write].map(({ read }) => read()),
  };
}

/** An attempt that has not failed by itself: a tool's own error is its answer's, and of one that never ended the call's. */
function errorOf(toMs: number, errorType: string | null): string | null {
  return toMs === 0 || errorType === "tool_error" ? errorType : null;
}

const isMcp = (operation: string): boolean =>
  operation.startsWith("tools/") || operation.startsWith("prompts/") || operation.startsWith("resources/");

/** The usual one is kept with the tool: a name made of three is a string that each call would put together. */
function seriesIn(histogram: Meter): (call: Call, error: string | null) => Series {
  const usual = new WeakMap<Tool, Series>();
  return (call, error) => {
    const { tool } = call;
    if (error !== null || tool === null || call.operation !== "tools/call") return seriesOf(histogram, call, error);
    const known = usual.get(tool);
    if (known !== undefined) return known;
    const found = seriesOf(histogram, call, null);
    usual.set(tool, found);
    return found;
  };
}

function seriesOf(histogram: Meter, { operation, tool }: Call, error: string | null): Series {
  const errorType = error === null ? "" : wordOf(error);
  const name = tool === null ? "" : tool.name;
  const labels = (tooMany: boolean): Labels => ({
    "mcp.method.name": operation,
    ...(tool === null
      ? {}
      : { "gen_ai.tool.name": tooMany ? OTHER : name, "mcp.server.name": tooMany ? OTHER : tool.server }),
    ...(errorType === "" ? {} : { "error.type": errorType }),
  });
  return histogram.series(`${operation} ${name} ${errorType}`, labels);
}

/** Upstreams choose JSON-RPC codes: those that the protocol fixes are named. */
function wordOf(error: string): string {
  return Object.hasOwn(REFUSALS, error) || KNOWN.has(error) ? error : "_OTHER";
}
const KNOWN = new Set(["tool_error", "-32700", "-32600", "-32601", "-32602", "-32603"]);
