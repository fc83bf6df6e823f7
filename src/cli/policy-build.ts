/** `policy build`: the policies as one file that OPA loads, and this gateway by `policies: bundle.tar.gz` or from a server. */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { whyUnreadable } from "../config-expand.ts";
import { writeBundleFile } from "../policy/bundle-file.ts";
import { checkPolicies } from "../policy/commands.ts";
import { isError } from "../policy/lint.ts";
import { canSign, SIGNING } from "../policy/signed-bundle.ts";
import type { SignKey } from "../policy/signed-bundle.ts";
import { readBundle } from "../policy/sources.ts";
import { CommandFault, flag, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { tell, tellFaults, withCompiler } from "./policy-files.ts";
import { folderIn } from "./policy-place.ts";

export async function buildPolicy(invocation: Invocation): Promise<number> {
  const { io, json } = invocation;
  const { disk } = io.ports;
  const place = await folderIn(invocation);
  const key = await keyOf(invocation);
  return withCompiler(invocation, async (tools) => {
    const found = await checkPolicies(tools, place.from);
    if (found.some(isError)) return tellFaults(invocation, place, found);
    tell(invocation, place, found);
    const bundle = await readBundle(disk, place.from);
    const revision = flag(invocation, "revision") ?? createHash("sha256").update(JSON.stringify(bundle)).digest("hex");
    const file = flag(invocation, "output") ?? "bundle.tar.gz";
    await disk
      .writeFile(resolve(io.cwd, file), await writeBundleFile(bundle, revision, key))
      .catch((fault: unknown) => {
        throw new CommandFault(`${file}: ${whyUnreadable(fault)}`, 2);
      });
    if (json) printJson(invocation, { file, revision, signed: key !== null });
    else io.stderr(`${file}, ${key === null ? "not signed" : "signed"}, revision ${revision}.\n`);
    return 0;
  });
}

async function keyOf(invocation: Invocation): Promise<SignKey | null> {
  const file = flag(invocation, "sign");
  if (file === null) return null;
  const named = flag(invocation, "signing-alg") ?? "RS256";
  const algorithm = SIGNING.find((one) => one === named);
  if (algorithm === undefined) throw new CommandFault(`--signing-alg takes one of ${SIGNING.join(", ")}`, 2);
  const { cwd, ports } = invocation.io;
  const privateKey = await ports.disk.readFile(resolve(cwd, file), "utf8").catch((fault: unknown) => {
    throw new CommandFault(`${file}: ${whyUnreadable(fault)}`, 2);
  });
  const key = { privateKey, algorithm, keyId: flag(invocation, "key-id") ?? "default" };
  if (!(await canSign(key))) throw new CommandFault(`${file}: no private key for ${algorithm}, as PEM (PKCS 8)`, 2);
  return key;
}
