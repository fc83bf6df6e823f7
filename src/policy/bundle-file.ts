/**
 * A bundle as one file, as OPA has it: read as if its files stood in a folder, and written so that OPA loads it. What
 * surprises: wasm in it is not run; the gateway compiles the Rego itself, and refuses a bundle whose rules are only there
 * as wasm.
 */
import { posix } from "node:path";
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { fault, PolicyRefused } from "./diagnostic.ts";
import { isSigned, signFiles, verifyFiles } from "./signed-bundle.ts";
import type { SignKey, VerifyKey } from "./signed-bundle.ts";
import { readBundle } from "./sources.ts";
import type { Bundle } from "./sources.ts";
import { expand, filesIn, writeArchive } from "./tar.ts";
import type { Files } from "./tar.ts";

const MANIFEST = ".manifest";
const ENTRYPOINTS_MAX = 3;
const ENTRYPOINT_CHARS_MAX = 100;

/** Without a key none that is signed is taken. @throws PolicyRefused */
export async function readBundleFile(bytes: Buffer, key: VerifyKey | null): Promise<Bundle> {
  return await bundleInTar(await expand(bytes), key);
}

/** @throws PolicyRefused */
export async function bundleInTar(tar: Buffer, key: VerifyKey | null): Promise<Bundle> {
  const files = filesIn(tar);
  if (key !== null) await verifyFiles(files, key);
  else if (isSigned(files)) throw refused("it is signed: name the key in `bundle.publicKey`");
  assertPlain(files);
  return await readBundle(folderOf(files), ".", "it");
}

/** As `opa build` would, and `opa sign`. */
export async function writeBundleFile(bundle: Bundle, revision: string, key: SignKey | null): Promise<Buffer> {
  const manifest = { revision, roots: [""], rego_version: 1 };
  const files = new Map([
    [MANIFEST, Buffer.from(JSON.stringify(manifest))],
    ["data.json", Buffer.from(JSON.stringify(bundle.data))],
    ...Object.entries({ ...bundle.modules, ...bundle.tests }).map(([path, text]) => [path, Buffer.from(text)] as const),
  ]);
  return await writeArchive(key === null ? files : await signFiles(files, key));
}

function assertPlain(files: Files): void {
  const manifest = manifestOf(files.get(MANIFEST));
  const wasm = manifest["wasm"];
  if (Array.isArray(wasm) && wasm.length > 0) throw refused(`${whyNoWasm(files, wasm)}: build it with \`-t rego\``);
  if (manifest["rego_version"] === 0) throw refused("it is Rego v0");
  for (const path of files.keys()) {
    if (/(?:^|\/)data\.ya?ml$/.test(path)) throw refused(`${path}: data stands in data.json`);
    if (path === "patch.json") throw refused("it is a delta");
    assertPlace(files, path);
  }
}

/** A file that no folder could hold would be passed over, whatever it refuses. */
function assertPlace(files: Files, path: string): void {
  if (posix.normalize(path) !== path) throw refused(`${path} is not written as \`${posix.normalize(path)}\``);
  const folders = path.split("/").slice(0, -1);
  const taken = folders.map((_, at) => folders.slice(0, at + 1).join("/")).find((folder) => files.has(folder));
  if (taken !== undefined) throw refused(`${taken} is a file, and a folder of ${path}`);
}

function whyNoWasm(files: Files, wasm: readonly Json[]): string {
  const isRego = [...files.keys()].some((path) => path.endsWith(".rego"));
  if (!isRego) return "it is built for wasm and holds no Rego, which the gateway compiles itself";
  const names = wasm.map((one) => String(isObject(one) ? one["entrypoint"] : one).slice(0, ENTRYPOINT_CHARS_MAX));
  const some = names.slice(0, ENTRYPOINTS_MAX).join(", ");
  return `it is built for wasm, which the gateway does not run; \`opa build -t wasm\` takes out the Rego of its entrypoints (${some})`;
}

function manifestOf(body: Buffer | undefined): JsonObject {
  if (body === undefined) return {};
  let manifest: Json;
  try {
    manifest = JSON.parse(body.toString("utf8")) as Json;
  } catch {
    throw refused("its manifest is not JSON");
  }
  if (!isObject(manifest)) throw refused("its manifest is no object");
  return manifest;
}

function refused(message: string): PolicyRefused {
  return new PolicyRefused([fault("bundle_refused", message)]);
}

/** So much of a disk as a bundle is read from. */
function folderOf(files: Files): Parameters<typeof readBundle>[0] {
  const at = (path: unknown): string => posix.normalize(String(path)).replace(/^\.\/?/, "");
  const folder = {
    readdir: (path: unknown) => {
      const under = at(path) === "" ? "" : `${at(path)}/`;
      const below = [...files.keys()].filter((name) => name.startsWith(under));
      return Promise.resolve([...new Set(below.map((name) => name.slice(under.length).split("/")[0] ?? ""))]);
    },
    readFile: (path: unknown) => Promise.resolve(utf8(at(path), files.get(at(path)))),
    stat: (path: unknown) => Promise.resolve({ isDirectory: () => !files.has(at(path)) }),
  };
  return folder as unknown as Parameters<typeof readBundle>[0];
}

function utf8(path: string, body: Buffer = Buffer.alloc(0)): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw refused(`${path} is not UTF-8`);
  }
}
