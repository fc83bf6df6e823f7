/** Which folders does the configuration name? For commands that need no more of it than that. */
import { dirname, resolve } from "node:path";
import { MANAGED } from "../config-bundle.ts";
import { readSection } from "../config-file.ts";
import type { Config } from "../config.ts";
import { CommandFault } from "./io.ts";
import type { Invocation } from "./io.ts";

/** Absolute; relative ones are relative to the file. Without a file at the default place, the default. */
export async function folderOf(invocation: Invocation, name: "data" | "policies"): Promise<string> {
  const named = (await sectionOf(invocation, name)) ?? name;
  if (name === "policies" && named === MANAGED)
    throw new CommandFault("the configuration says `policies: managed`: name a folder", 2);
  return resolve(dirname(invocation.config), named);
}

/** null without a file at the default place. @throws ConfigFault */
export async function sectionOf<Name extends keyof Config>(
  { io, config, flags }: Invocation,
  name: Name,
): Promise<Config[Name] | null> {
  const { disk } = io.ports;
  const named = flags["config"] !== undefined;
  if (!named && (await disk.stat(config).catch(() => null)) === null) return null;
  return readSection(name, config, io.env, disk);
}
