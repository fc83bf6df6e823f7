/** Is this tool listed for this principal? What was computed once from the two alone; gone with the objects it is about. */
import type { Principal, Tool } from "../model.ts";

export type ListedMemo = {
  readonly get: (principal: Principal, tool: Tool) => boolean | undefined;
  readonly set: (principal: Principal, tool: Tool, listed: boolean) => void;
};

/** Ten thousand principals that use ten tools each; beyond that it begins anew. */
const PAIRS_MAX = 100_000;

export function listedMemo(): ListedMemo {
  let byPrincipal = new WeakMap<Principal, WeakMap<Tool, boolean>>();
  let pairs = 0;
  return {
    get: (principal, tool) => byPrincipal.get(principal)?.get(tool),
    set: (principal, tool, listed) => {
      if (++pairs > PAIRS_MAX) {
        byPrincipal = new WeakMap();
        pairs = 1;
      }
      let byTool = byPrincipal.get(principal);
      if (byTool === undefined) byPrincipal.set(principal, (byTool = new WeakMap()));
      byTool.set(tool, listed);
    },
  };
}
