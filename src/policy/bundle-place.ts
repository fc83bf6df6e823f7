/** Whose must a bundle be, and what does its file hold? Asked alike by the gateway and by the commands that check one. */
import { resolve } from "node:path";
import { whyUnreadable } from "../config-expand.ts";
import type { Config } from "../config.ts";
import type { Disk } from "../ports.ts";
import { readBundleFile } from "./bundle-file.ts";
import { fault, PolicyRefused } from "./diagnostic.ts";
import type { VerifyKey } from "./signed-bundle.ts";
import type { Bundle } from "./sources.ts";

type Reads = Pick<Disk, "readFile">;

/** Else it is a folder's. */
export function isBundleFile(path: string): boolean {
  return /\.(?:tar\.gz|tgz)$/.test(path);
}

/** @throws PolicyRefused */
export async function bundleOfFile(path: string, key: VerifyKey | null, disk: Reads): Promise<Bundle> {
  return await readBundleFile(await bytesOf(path, disk), key);
}

/** `folder`: of the configuration file. Null where none is named. @throws PolicyRefused */
export async function verifyKeyOf(bundle: Config["bundle"], folder: string, disk: Reads): Promise<VerifyKey | null> {
  const { publicKey, algorithm, scope } = bundle;
  if (publicKey === undefined) return null;
  const text = (await bytesOf(resolve(folder, publicKey), disk)).toString("utf8");
  return { publicKey: text, algorithm, scope };
}

/** @throws PolicyRefused */
export async function bytesOf(path: string, disk: Reads): Promise<Buffer> {
  return await disk.readFile(path).catch((cause: unknown) => {
    throw new PolicyRefused([fault("bundle_unreadable", `${path}: ${whyUnreadable(cause)}`)]);
  });
}
