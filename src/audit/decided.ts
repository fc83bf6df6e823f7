/**
 * What did policy decide, and on what? The recorded decisions of all trails, newest first, one for each call: as they
 * were written, straight from the files. What surprises: arguments are given only as far as they were kept; whether
 * that is all of them, the keyed digest beside them says.
 */
import { join } from "node:path";
import { linesBackwards } from "./lines.ts";
import { kindOf } from "./row.ts";
import { listSegments } from "./segments.ts";
import { parseSpan } from "./span.ts";
import type { RecordedSpan } from "./span.ts";

export type Decided = {
  readonly callId: string;
  /** Unix epoch. */
  readonly timeMs: number;
  readonly operation: string;
  readonly interface: string;
  readonly protocol: string;
  readonly ip: string;
  readonly principal: string;
  readonly kind: string;
  readonly onBehalfOf: string | null;
  readonly tenant: string;
  /** By gateway name; null where the operation was not on a tool. */
  readonly tool: string | null;
  readonly server: string | null;
  readonly version: string | null;
  readonly target: string | null;
  readonly decision: "allow" | "deny";
  readonly reasons: readonly string[];
  readonly policyRevision: string;
  /** As kept: JSON text, masked and bounded. */
  readonly arguments: string | null;
  readonly argumentsDigest: string | null;
};
export type DecidedQuery = {
  /** None that began before. */
  readonly sinceMs: number;
  /** What is read of all trails together. */
  readonly bytesMax: number;
  /** Only this call. */
  readonly callId?: string;
};

/** Ends early where it may read no more: then it returns false. */
export async function* decidedIn(
  directories: readonly string[],
  { sinceMs, bytesMax, callId }: DecidedQuery,
): AsyncGenerator<Decided, boolean> {
  let left = bytesMax;
  for (const directory of directories) {
    // an upstream may take its time: the record of a call is written after it began
    let isOver = false;
    for (const { file } of (await listSegments(directory)).toReversed()) {
      if (isOver) break;
      for await (const lines of linesBackwards(join(directory, file), Number.MAX_SAFE_INTEGER)) {
        for (const { text } of lines) {
          left -= text.length;
          if (callId !== undefined && !text.includes(callId)) continue;
          const found = decidedOf(text);
          if (found !== null && found.timeMs >= sinceMs && (callId ?? found.callId) === found.callId) yield found;
        }
        if (left <= 0) return false;
        const oldest = lines.at(-1);
        isOver = oldest !== undefined && startOf(oldest.text) < sinceMs - LATE_MS;
        if (isOver) break;
      }
    }
  }
  return true;
}

/** No call takes longer. */
const LATE_MS = 3_600_000;

function startOf(line: string): number {
  const [, nanoseconds = ""] = /"startTimeUnixNano":"(\d{7,19})"/.exec(line) ?? [];
  return nanoseconds === "" ? Infinity : Number(nanoseconds.slice(0, -6));
}

/** Null for what holds no decision, and for the second record of a call. */
function decidedOf(line: string): Decided | null {
  if (!line.includes('"portcullis.decision"')) return null;
  const span = parseSpan(line);
  if (span === null) return null;
  const text = textsOf(span);
  // only a call that a proxy carries has an outcome without an intent
  if (kindOf(span) === "outcome" && text("portcullis.interface") !== "ext_authz") return null;
  const reasons = span.attributes.get("portcullis.reasons");
  return {
    callId: text("portcullis.call.id") ?? "",
    timeMs: Number(span.start.slice(0, -6)),
    operation: text("portcullis.operation") ?? "",
    interface: text("portcullis.interface") ?? "",
    protocol: text("mcp.protocol.version") ?? "",
    ip: text("client.address") ?? "",
    principal: text("portcullis.principal.id") ?? "",
    kind: text("portcullis.principal.kind") ?? "",
    onBehalfOf: text("portcullis.on_behalf_of"),
    tenant: text("portcullis.tenant") ?? "",
    tool: text("portcullis.server.name") === null ? null : text("gen_ai.tool.name"),
    server: text("portcullis.server.name"),
    version: text("portcullis.server.version"),
    target: text("portcullis.target"),
    decision: text("portcullis.decision") === "allow" ? "allow" : "deny",
    reasons: Array.isArray(reasons) ? reasons : [],
    policyRevision: text("portcullis.policy.revision") ?? "",
    arguments: text("gen_ai.tool.call.arguments"),
    argumentsDigest: text("portcullis.arguments.digest"),
  };
}

function textsOf({ attributes }: RecordedSpan): (name: string) => string | null {
  return (name) => {
    const value = attributes.get(name);
    return typeof value === "string" ? value : null;
  };
}
