/**
 * Which policies are meant? A folder, a bundle's file or its URL: the one that is named, or the configuration's. What
 * surprises: whose a bundle must be is what the configuration's `bundle` says, also of one that is named; its headers are
 * sent to the server alone that the configuration names.
 */
import { dirname, join, relative, resolve } from "node:path";
import { isRemote, MANAGED } from "../config-bundle.ts";
import { checkBundle } from "../config-check.ts";
import { bundleOfFile, isBundleFile, verifyKeyOf } from "../policy/bundle-place.ts";
import type { From } from "../policy/commands.ts";
import { fault, PolicyRefused } from "../policy/diagnostic.ts";
import { fetchBundle } from "../policy/remote-bundle.ts";
import type { VerifyKey } from "../policy/signed-bundle.ts";
import { Refusal } from "../refusal.ts";
import { askDocument } from "../upstream/document.ts";
import { sectionOf } from "./folder.ts";
import { CommandFault } from "./io.ts";
import type { Invocation } from "./io.ts";

export type Place = {
  /** As it is told of; for files in it see `within`. */
  readonly shown: string;
  readonly from: From;
};

/** @throws CommandFault, ConfigFault */
export async function placeOf(invocation: Invocation): Promise<Place> {
  const [named] = invocation.operands;
  if (named !== undefined) return isUrl(named) ? atUrl(invocation, named) : await onDisk(invocation, named);
  const policies = (await sectionOf(invocation, "policies")) ?? "policies";
  if (policies === MANAGED)
    throw new CommandFault(
      "the configuration says `policies: managed`: what is in force was checked when it was applied, see `portcullis " +
        "policy show`; to check another, name a folder or a bundle",
      2,
    );
  if (isUrl(policies)) {
    const [problem] = await problemsOf(invocation, policies);
    if (problem !== undefined) throw new CommandFault(`policies: ${problem.message}`, 2);
    return atUrl(invocation, policies);
  }
  return await onDisk(invocation, resolve(dirname(invocation.config), policies));
}

/** A folder to write to or to build from, and nothing else. @throws CommandFault, ConfigFault */
export async function folderIn(invocation: Invocation): Promise<Place & { readonly from: string }> {
  const { shown, from } = await placeOf(invocation);
  if (typeof from === "string") return { shown, from };
  throw new CommandFault(`${shown}: a bundle; this command takes the folder that it is built of`, 2);
}

/** A file of the policies, as editors find it. */
export function within({ shown, from }: Place, file: string): string {
  if (file === "") return typeof from === "string" ? "" : shown;
  return typeof from === "string" ? join(shown, file) : `${shown}/${file}`;
}

async function onDisk(invocation: Invocation, path: string): Promise<Place> {
  const { cwd, ports } = invocation.io;
  const absolute = resolve(cwd, path);
  const shown = shortened(cwd, absolute);
  const there = await ports.disk.stat(absolute).catch(() => null);
  // what is not there is told by whoever reads it
  if (there === null || there.isDirectory()) return { shown, from: absolute };
  if (!isBundleFile(absolute))
    throw new CommandFault(`${shown}: neither a folder of policies nor a bundle (.tar.gz or .tgz)`, 2);
  return { shown, from: async () => bundleOfFile(absolute, await keyOf(invocation), ports.disk) };
}

function atUrl(invocation: Invocation, url: string): Place {
  // what it is written with may be a secret
  if (!URL.canParse(url)) throw new CommandFault("the bundle's URL is none", 2);
  const { origin, pathname } = new URL(url);
  const read = async () => {
    const bundle = await sectionOf(invocation, "bundle");
    const configured = await sectionOf(invocation, "policies");
    const isSound = configured !== null && isUrl(configured) && (await problemsOf(invocation, configured)).length === 0;
    const isOwn = isSound && new URL(configured).origin === origin;
    const terms = isOwn && bundle !== null ? bundle : { headers: {}, allowPrivate: true };
    return await fetchBundle({ ...terms, url }, await keyOf(invocation), askDocument).catch(unreachable);
  };
  // a query or a password may be a secret
  return { shown: `${origin}${pathname}`, from: read };
}

function unreachable(cause: unknown): never {
  if (cause instanceof PolicyRefused) throw cause;
  const why = cause instanceof Refusal || cause instanceof Error ? cause.message : "it cannot be had";
  throw new PolicyRefused([fault("bundle_unreachable", why)]);
}

/** Why no gateway would ask for it. */
async function problemsOf(invocation: Invocation, policies: string): Promise<ReturnType<typeof checkBundle>> {
  const bundle = await sectionOf(invocation, "bundle");
  return bundle === null ? [] : checkBundle({ policies, bundle });
}

/** By the configuration; null where it names none. */
async function keyOf(invocation: Invocation): Promise<VerifyKey | null> {
  const bundle = await sectionOf(invocation, "bundle");
  return bundle === null ? null : verifyKeyOf(bundle, dirname(invocation.config), invocation.io.ports.disk);
}

function isUrl(policies: string): boolean {
  return isRemote({ policies });
}

function shortened(cwd: string, path: string): string {
  const short = relative(cwd, path);
  return short.startsWith("..") ? path : short === "" ? "." : short;
}
