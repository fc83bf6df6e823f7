/** The gateways that the bench measures, and how much effort a run may make. */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import type { Part } from "../support/parts.ts";
import { pinned } from "./process.ts";
import type { Load } from "./process.ts";
import type { Configured } from "./targets.ts";

export type Effort = {
  readonly quick: boolean;
  readonly rounds: number;
  readonly warm: { readonly calls: number; readonly ms: number };
  /** One connection, and sixty-four. */
  readonly singleMs: number;
  readonly manyMs: number;
  readonly memoryCalls: number;
};
export type Bench = { readonly load: Load; readonly upstream: Part; readonly effort: Effort };
/** A folder for each policy in which it is compiled: what is measured is a gateway that has started before. */
const compiled = new Map<string, string>();
process.once("exit", () => compiled.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

export async function startGateway(config: Configured, readyMs = 20_000): Promise<Portcullis> {
  let seed = compiled.get(config.policies);
  if (seed === undefined) {
    seed = temporaryFolder();
    compiled.set(config.policies, seed);
    const first = await portcullis({ config: { policies: config.policies }, folder: seed });
    await first.stop();
  }
  const folder = temporaryFolder();
  cpSync(join(seed, "data/compiled"), join(folder, "data/compiled"), { recursive: true });
  const gateway = await portcullis({ config, folder, prefix: pinned("measured", []), readyMs });
  return {
    ...gateway,
    stop: async () => {
      const code = await gateway.stop();
      rmSync(folder, { recursive: true, force: true });
      return code;
    },
  };
}
