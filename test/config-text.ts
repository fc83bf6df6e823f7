/** A configuration file for a test, as text: read, or refused with its problems. */
import { Buffer } from "node:buffer";
import type { readFile } from "node:fs/promises";
import { ConfigFault, readConfigFile } from "../src/config-file.ts";

type Env = { readonly [name: string]: string | undefined };

/** Files by absolute path; the configuration is /etc/p.yaml. */
export function disk(files: { readonly [path: string]: string | Buffer }) {
  const read = async (path: unknown): Promise<Buffer> => {
    const found = files[String(path)];
    if (found === undefined) throw Object.assign(new Error("gone"), { code: "ENOENT" });
    return Buffer.from(found);
  };
  return { readFile: read as typeof readFile };
}

export const read = (text: string, env: Env = {}, files: { readonly [path: string]: string } = {}) =>
  readConfigFile("/etc/p.yaml", env, disk({ "/etc/p.yaml": text, ...files }));

export async function problems(
  text: string,
  env: Env = {},
  files: { readonly [path: string]: string } = {},
): Promise<readonly string[]> {
  const fault: unknown = await read(text, env, files).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(fault instanceof ConfigFault)) throw new Error("the file was accepted", { cause: fault });
  return fault.problems;
}
