/** What of a version of a server awaits approval, and how does it differ from what was accepted? */
import type { ServerVersion } from "../model.ts";
import { diffTool } from "./tool-diff.ts";
import type { ToolChange } from "./tool-diff.ts";

export type ShownChange = ToolChange & { readonly from: string; readonly to: string };

/** A server that changes a tool often enough must not have it taken for a new one. */
const FORGOTTEN = {
  verdict: "suspicious",
  path: "",
  message: "nothing was accepted that it could be compared with, or it is not known any more",
} as const;

/** What of the version is quarantined, against what was accepted. */
export function awaiting({ version, tools, accepted }: ServerVersion): readonly ShownChange[] {
  return [...tools.values()].flatMap((tool) => {
    if (!tool.quarantined) return [];
    const before = accepted(tool.upstreamName) ?? undefined;
    const change = diffTool(tool.upstreamName, { before, after: tool.definition }, { sameVersion: true });
    if (change === null) return [];
    const judged = before === undefined ? { ...change, verdict: "suspicious" as const, findings: [FORGOTTEN] } : change;
    return [{ ...judged, from: version, to: version }];
  });
}
