/** What does the configuration say? For commands that need no more of it than one section. */
import { dirname, resolve } from "node:path";
import { readSection } from "../config-file.ts";
import type { Config } from "../config.ts";
import type { Invocation } from "./io.ts";

/** Where data is kept, absolute; a relative one is relative to the file. Without a file at the default place, the default. */
export async function dataFolder(invocation: Invocation): Promise<string> {
  return resolve(dirname(invocation.config), (await sectionOf(invocation, "data")) ?? "data");
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
