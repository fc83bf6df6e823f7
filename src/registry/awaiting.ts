/**
 * What of a version of a server awaits approval, and how does it differ from what was accepted? What surprises: what is gone
 * awaits nothing, and is told all the same; under one version it breaks whoever calls it.
 */
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

/** What of the version is quarantined or gone, against what was accepted. */
export function awaiting({ version, tools, accepted, gone }: ServerVersion): readonly ShownChange[] {
  const changed = [...tools.values()].flatMap((tool) => {
    if (!tool.quarantined) return [];
    const before = accepted(tool.upstreamName) ?? undefined;
    const change = diffTool(tool.upstreamName, { before, after: tool.definition }, SAME);
    if (change === null) return [];
    return before === undefined ? [{ ...change, verdict: "suspicious" as const, findings: [FORGOTTEN] }] : [change];
  });
  const removed = [...gone()].flatMap(([name, before]) => diffTool(name, { before, after: undefined }, SAME) ?? []);
  return [...changed, ...removed].map((change) => ({ ...change, from: version, to: version }));
}

const SAME = { sameVersion: true } as const;
